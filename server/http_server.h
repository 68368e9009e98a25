// The HTTP port: /metrics for Prometheus, /healthz and /readyz for probes and load balancers.
// Answers are small and made at once, by four threads; request bodies are not read. Tests:
// tests/server/server_test.cc.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine_slot.h"
#include "server/listen_address.h"

namespace httplib {
class Server;
struct Response;
}  // namespace httplib

namespace tessera {

class HttpServer {
 public:
  // Opens the port and answers from then on. UNAVAILABLE when it cannot be had. Slot and collectors
  // must outlive the server.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const ListenAddress& address, const EngineSlot& slot,
      std::vector<const prometheus::Collectable*> collectors);
  ~HttpServer();

  // "127.0.0.1:8080", with the port that was chosen for 0.
  std::string address() const { return ToString(address_); }

 private:
  HttpServer(const EngineSlot& slot, std::vector<const prometheus::Collectable*> collectors);
  absl::Status Open(const ListenAddress& address);
  void AnswerMetrics(httplib::Response& response) const;

  const EngineSlot& slot_;
  const std::vector<const prometheus::Collectable*> collectors_;
  std::unique_ptr<httplib::Server> server_;
  ListenAddress address_;
  std::thread thread_;
};

}  // namespace tessera
