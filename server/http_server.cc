#include "server/http_server.h"

#include <utility>

#include "engine/base/status.h"
#include "server/http_listener.h"

namespace tessera {

HttpServer::HttpServer(const EngineSlot& slot,
                       std::vector<const prometheus::Collectable*> collectors,
                       const HttpLimits& limits)
    : slot_(slot), listener_(std::make_unique<HttpListener>(limits, Routes(), metrics_)) {
  collectors.push_back(&metrics_);
  page_ = std::make_unique<MetricsPage>(std::move(collectors));
}

HttpServer::~HttpServer() { listener_->Stop(); }

HttpRoutes HttpServer::Routes() {
  return {{"/metrics", [this](HttpAnswer answer) { page_->Get(std::move(answer)); }},
          {"/healthz", [](const HttpAnswer& answer) { answer(TextResponse(200, "alive")); }},
          {"/readyz", [this](const HttpAnswer& answer) {
             const Readiness readiness = slot_.CheckReadiness();
             answer(TextResponse(readiness.ready ? 200 : 503, readiness.reason));
           }}};
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const ListenAddress& address, const EngineSlot& slot,
    std::vector<const prometheus::Collectable*> collectors, const HttpLimits& limits) {
  std::unique_ptr<HttpServer> server(new HttpServer(slot, std::move(collectors), limits));
  RETURN_IF_ERROR(server->listener_->Start(address));
  server->address_ = {.host = address.host, .port = server->listener_->port()};
  return server;
}

}  // namespace tessera
