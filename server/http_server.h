// The HTTP port's pages: /metrics for Prometheus, /healthz and /readyz for probes and load
// balancers. Tests: tests/server/server_test.cc, tests/server/http_server_test.cc.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine_slot.h"
#include "server/http_limits.h"
#include "server/http_message.h"
#include "server/http_metrics.h"
#include "server/listen_address.h"
#include "server/metrics_page.h"

namespace tessera {

class HttpListener;

class HttpServer {
 public:
  // Opens the port and answers from then on. UNAVAILABLE when it cannot be had. Slot and collectors
  // must outlive the server. Its own metrics are added to those of the collectors.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const ListenAddress& address, const EngineSlot& slot,
      std::vector<const prometheus::Collectable*> collectors, const HttpLimits& limits = {});
  ~HttpServer();

  // "127.0.0.1:8080", with the port that was chosen for 0.
  std::string address() const { return ToString(address_); }

 private:
  HttpServer(const EngineSlot& slot, std::vector<const prometheus::Collectable*> collectors,
             const HttpLimits& limits);
  HttpRoutes Routes();

  const EngineSlot& slot_;
  HttpMetrics metrics_;
  std::unique_ptr<HttpListener> listener_;  // outlives the page, whose answers go through it
  std::unique_ptr<MetricsPage> page_;
  ListenAddress address_;
};

}  // namespace tessera
