// The server around an engine: both ports, services, health and metrics. Opens its ports at once,
// so that probes and clients get an answer while the model loads; requests are taken after
// Publish().
#pragma once

#include <grpcpp/server.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/acceptor.h"
#include "server/connection_options.h"
#include "server/connections.h"
#include "server/engine_slot.h"
#include "server/generation_service.h"
#include "server/health.h"
#include "server/health_service.h"
#include "server/heap_trim.h"
#include "server/http_server.h"
#include "server/listen_address.h"
#include "server/metrics.h"
#include "server/model_service.h"
#include "server/pending_writes.h"
#include "server/port_probe.h"
#include "server/process_metrics.h"
#include "server/reflection_service.h"
#include "server/rpc_call.h"
#include "server/rpc_metrics.h"
#include "server/unknown_call.h"
#include "server/uploads.h"

namespace tessera {

class Server {
 public:
  // Opens both ports. UNAVAILABLE, naming the address, when one cannot be had.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ListenAddress& grpc,
                                                       const ListenAddress& http,
                                                       const ConnectionOptions& options = {});
  // Ends what still runs, at once.
  ~Server();

  // With the ports that were chosen for 0.
  std::string grpc_address() const { return ToString(grpc_address_); }
  std::string http_address() const { return http_->address(); }
  const EngineSlot& slot() const { return slot_; }

  void SetProgress(int64_t done_bytes, int64_t total_bytes) {
    slot_.SetProgress(done_bytes, total_bytes);
  }
  // Ready from now on. Once.
  void Publish(std::unique_ptr<Engine> engine, double load_seconds);
  // Not ready from now on; new requests are refused; those that run have until `timeout`, or until
  // `hurry`, to finish and to be read. Then the gRPC port is closed; HTTP answers until the server
  // is destroyed. Once.
  void Drain(std::chrono::nanoseconds timeout, const std::stop_token& hurry);

 private:
  Server(const ConnectionLimits& limits, const ConnectionOptions& options);
  absl::Status OpenGrpc(const ListenAddress& address, const ConnectionOptions& options);
  void StopGrpc();

  // In the order in which they use each other; the engine outlives all who can call it, and what
  // its requests' sinks use outlives the engine.
  RpcMetrics rpc_metrics_;
  std::unique_ptr<Engine> engine_;
  EngineSlot slot_;
  EngineMetrics engine_metrics_{slot_};
  ProcessMetrics process_metrics_;
  Connections connections_;
  MemoryBudget own_memory_{int64_t{16} << 20};
  Uploads uploads_{[this](std::string_view peer) { return connections_.ReadBytes(peer); },
                   {},
                   [this](std::string_view peer, bool receiving) {
                     receiving ? connections_.BeginReceiving(peer)
                               : connections_.EndReceiving(peer);
                   }};
  PendingWrites writes_;
  CallHost call_host_{slot_, rpc_metrics_, uploads_, writes_, connections_, own_memory_};
  GenerationService generation_service_{call_host_};
  ModelService model_service_{call_host_};
  Health health_{slot_};
  HealthService health_service_{call_host_, health_};
  ReflectionService reflection_service_{call_host_};
  UnknownMethods unknown_methods_{call_host_};
  Acceptor acceptor_{connections_};
  PortProbe probe_;
  HeapTrim heap_trim_{slot_};
  ListenAddress grpc_address_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<grpc::Server> grpc_;
};

}  // namespace tessera
