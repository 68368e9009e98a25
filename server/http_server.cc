#include "server/http_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "engine/status.h"

namespace tessera {
namespace {

constexpr size_t kThreads = 4;
constexpr int kTimeoutSeconds = 5;
constexpr int kKeepAliveSeconds = 2;
constexpr size_t kMaxBodyBytes = 4096;

// cpp-httplib's own choice includes SO_REUSEPORT, with which a second server would silently share
// the port.
void SetSocketOptions(socket_t socket) {
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

void Answer(int code, const std::string& line, httplib::Response& response) {
  response.status = code;
  response.set_content(line + "\n", "text/plain; charset=utf-8");
}

}  // namespace

HttpServer::HttpServer(const EngineSlot& slot,
                       std::vector<const prometheus::Collectable*> collectors)
    : slot_(slot),
      collectors_(std::move(collectors)),
      server_(std::make_unique<httplib::Server>()) {
  server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server_->set_socket_options(SetSocketOptions);
  server_->set_read_timeout(kTimeoutSeconds);
  server_->set_write_timeout(kTimeoutSeconds);
  server_->set_keep_alive_timeout(kKeepAliveSeconds);
  server_->set_payload_max_length(kMaxBodyBytes);
  server_->Get("/metrics", [this](const auto&, auto& response) { AnswerMetrics(response); });
  server_->Get("/healthz", [](const auto&, auto& response) { Answer(200, "alive", response); });
  server_->Get("/readyz", [this](const auto&, auto& response) {
    const Readiness readiness = slot_.CheckReadiness();
    Answer(readiness.ready ? 200 : 503, readiness.reason, response);
  });
}

HttpServer::~HttpServer() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
}

absl::Status HttpServer::Open(const ListenAddress& address) {
  address_ = address;
  bool bound = false;
  if (address.port == 0) {
    address_.port = server_->bind_to_any_port(address.host);
    bound = address_.port > 0;
  } else {
    bound = server_->bind_to_port(address.host, address.port);
  }
  if (!bound) {
    return absl::UnavailableError(
        fmt::format("cannot listen for http on {}: not an address of this machine, or in use",
                    ToString(address)));
  }
  thread_ = std::thread([this] { server_->listen_after_bind(); });
  // stop() has no effect on a server that does not run yet.
  while (!server_->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return absl::OkStatus();
}

void HttpServer::AnswerMetrics(httplib::Response& response) const {
  std::vector<prometheus::MetricFamily> families;
  for (const prometheus::Collectable* collector : collectors_) {
    std::ranges::move(collector->Collect(), std::back_inserter(families));
  }
  response.set_content(prometheus::TextSerializer().Serialize(families),
                       "text/plain; version=0.0.4; charset=utf-8");
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const ListenAddress& address, const EngineSlot& slot,
    std::vector<const prometheus::Collectable*> collectors) {
  std::unique_ptr<HttpServer> server(new HttpServer(slot, std::move(collectors)));
  RETURN_IF_ERROR(server->Open(address));
  return server;
}

}  // namespace tessera
