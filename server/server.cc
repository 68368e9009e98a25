#include "server/server.h"

#include <fmt/format.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "engine/base/status.h"
#include "server/descriptor_limit.h"
#include "server/drain.h"
#include "server/listening_sockets.h"

namespace tessera {
namespace {

constexpr int kMinPingIntervalMs = 10'000;
constexpr int kKeepAliveTimeMs = 60'000;
constexpr int kKeepAliveTimeoutMs = 20'000;
// After the last answer has been handed over: for the bytes to leave and clients to be told.
constexpr std::chrono::milliseconds kFlushTime(200);

void SetTransport(grpc::ServerBuilder& builder, const ConnectionOptions& options) {
  // Ours to refuse (RpcCall, Uploads): gRPC would, too, only when the message is whole.
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  // A few kilobytes of gzip can become a message of any size before its limit is checked.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // What may arrive of a message before its call reads. Estimating the window instead (BDP) lets it
  // grow to 16 MiB per stream. A call that reads is given a MiB more at a time.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamWindowBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // A long prefill is silent: clients may ping meanwhile.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(options.handshake_time.count()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             static_cast<int>(options.idle_time.count()));
}

}  // namespace

Server::Server(const ConnectionLimits& limits, const ConnectionOptions& options)
    : connections_(limits),
      writes_({.longest = options.write_time}),
      probe_(slot_, options.probe,
             [this](std::string name) { acceptor_.ExpectProbe(std::move(name)); }) {}

Server::~Server() {
  if (grpc_ == nullptr) return;  // drained, or never opened
  if (engine_) engine_->Shutdown();
  StopGrpc();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ListenAddress& grpc,
                                                      const ListenAddress& http,
                                                      const ConnectionOptions& options) {
  ASSIGN_OR_RETURN(
      ConnectionLimits limits,
      ChooseConnectionLimits(options.max_connections, options.max_connections_per_address));
  limits.header_bytes = options.header_bytes;
  std::unique_ptr<Server> server(new Server(limits, options));
  ASSIGN_OR_RETURN(server->http_, HttpServer::Start(http, server->slot_,
                                                    {&server->engine_metrics_,
                                                     &server->rpc_metrics_, &server->acceptor_,
                                                     &server->probe_, &server->process_metrics_}));
  RETURN_IF_ERROR(server->OpenGrpc(grpc, options));
  return server;
}

absl::Status Server::OpenGrpc(const ListenAddress& address, const ConnectionOptions& options) {
  ASSIGN_OR_RETURN(ListeningSockets sockets, Listen(address));
  grpc_address_ = {.host = address.host, .port = sockets.port};
  grpc::ServerBuilder builder;
  SetTransport(builder, options);
  auto grpc_acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterService(&generation_service_);
  builder.RegisterService(&model_service_);
  builder.RegisterService(&health_service_);
  builder.RegisterService(&reflection_service_);
  builder.RegisterCallbackGenericService(&unknown_methods_);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr) return absl::InternalError("gRPC does not start");
  RETURN_IF_ERROR(acceptor_.Start(std::move(sockets.sockets), std::move(grpc_acceptor)));
  probe_.Start(acceptor_.listener());
  return absl::OkStatus();
}

void Server::Publish(std::unique_ptr<Engine> engine, double load_seconds) {
  engine_ = std::move(engine);
  connections_.SetMemory(engine_->memory());
  slot_.Publish(engine_.get(), load_seconds);
  health_.Update();
}

void Server::Drain(std::chrono::nanoseconds timeout, const std::stop_token& hurry) {
  const Clock::time_point start = Clock::now();
  slot_.StartDrain();
  health_.Update();
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
  probe_.Stop();
  acceptor_.Stop();
  grpc_->Shutdown(std::chrono::system_clock::now() + kFlushTime);
  grpc_->Wait();
  grpc_.reset();
  connections_.Clear();
}

}  // namespace tessera
