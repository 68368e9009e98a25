#include "server/server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "engine/status.h"
#include "server/drain.h"

namespace tessera {
namespace {

constexpr int kMaxReceiveBytes = 64 << 20;
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kKeepAliveTimeMs = 60'000;
constexpr int kKeepAliveTimeoutMs = 20'000;
// After the last answer has been handed over: for the bytes to leave and clients to be told.
constexpr std::chrono::milliseconds kFlushTime(200);

void SetTransport(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetMaxSendMessageSize(-1);
  // A few kilobytes of gzip can become a message of any size before its limit is checked.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // A long prefill is silent: clients may ping meanwhile.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
  // A second server on the same port is an error, not a silent partner.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

Server::Server() = default;

Server::~Server() {
  if (grpc_ == nullptr) return;  // drained, or never opened
  if (engine_) engine_->Shutdown();
  StopGrpc();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ListenAddress& grpc,
                                                      const ListenAddress& http) {
  std::unique_ptr<Server> server(new Server);
  ASSIGN_OR_RETURN(server->http_,
                   HttpServer::Start(http, server->slot_,
                                     {&server->engine_metrics_, &server->rpc_metrics_,
                                      &server->process_metrics_}));
  RETURN_IF_ERROR(server->OpenGrpc(grpc));
  return server;
}

absl::Status Server::OpenGrpc(const ListenAddress& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetTransport(builder);
  int port = 0;
  builder.AddListeningPort(ToString(address), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&generation_service_);
  builder.RegisterService(&model_service_);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || port <= 0) {
    return absl::UnavailableError(
        fmt::format("cannot listen for grpc on {}: not an address of this machine, or in use",
                    ToString(address)));
  }
  grpc_address_ = {.host = address.host, .port = port};
  health_ = std::make_unique<Health>(slot_, *grpc_->GetHealthCheckService());
  return absl::OkStatus();
}

void Server::Publish(std::unique_ptr<Engine> engine, double load_seconds) {
  engine_ = std::move(engine);
  slot_.Publish(engine_.get(), load_seconds);
  health_->Update();
}

void Server::Drain(std::chrono::nanoseconds timeout, const std::stop_token& hurry) {
  const Clock::time_point start = Clock::now();
  slot_.StartDrain();
  health_->Update();
  spdlog::info("draining: {} calls to answer and {} answers to be read have {:.1f} s",
               rpc_metrics_.open_calls(), rpc_metrics_.unread_calls(),
               std::chrono::duration<double>(timeout).count());
  const DrainReport report = tessera::Drain(engine_.get(), rpc_metrics_, start + timeout, hurry);
  spdlog::info("drained in {:.1f} s: {} calls aborted, the ends of {} not read",
               std::chrono::duration<double>(Clock::now() - start).count(), report.aborted,
               report.unread);
  StopGrpc();
}

void Server::StopGrpc() {
  health_.reset();
  grpc_->Shutdown(std::chrono::system_clock::now() + kFlushTime);
  grpc_->Wait();
  grpc_.reset();
}

}  // namespace tessera
