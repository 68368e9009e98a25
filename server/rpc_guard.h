// The one gate of every call: made first, at the call's headers, it gives the call its id, and
// whatever every call needs (identity, limits, traces) belongs here, as gRPC's server interceptors
// cannot refuse a call. Answer() makes the final status, counts it and writes the one line of log;
// it never holds a prompt. Lives as long as its call.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/api/request.h"
#include "server/convert.h"
#include "server/rpc_metrics.h"

namespace tessera {

class RpcGuard {
 public:
  RpcGuard(RpcMetrics& metrics, RpcMethod method, grpc::CallbackServerContext* context);
  ~RpcGuard();
  RpcGuard(const RpcGuard&) = delete;
  RpcGuard& operator=(const RpcGuard&) = delete;

  const CallFacts& call() const { return call_; }
  RpcMethod method() const { return method_; }
  // As gRPC names it, such as "ipv4:127.0.0.1:4711".
  const std::string& peer() const { return peer_; }
  // The client's; an empty or unusable one is let pass, and the call keeps its own.
  void TakeRequestId(const std::string& id);
  // Where the call is, for the log; a literal. The engine's own stages come with its Completion.
  void SetStage(std::string_view stage) { stage_ = stage; }

  // gRPC has ended the call.
  bool IsCancelled() const { return context_->IsCancelled(); }
  // Its client does not read: ends the call for gRPC, whatever is on its way.
  void Abandon();
  // The client's deadline has passed, or will in a moment: a call that its client leaves now ended
  // by its deadline. Chooses what it is called, and nothing else.
  bool DeadlinePassed() const;
  // How a call ends that its client has left.
  Completion Lost() const;

  // Exactly once, before the call's Finish().
  grpc::Status Answer(const Completion& completion);
  grpc::Status Answer(const absl::Status& status);

 private:
  void Log(const Completion& completion, const absl::Status& status, double seconds) const;

  RpcMetrics& metrics_;
  const RpcMethod method_;
  const std::string peer_;
  grpc::CallbackServerContext* const context_;
  const Clock::time_point start_ = Clock::now();
  CallFacts call_;
  std::string_view stage_ = "headers";
};

// What the client is told: the engine's status, or what a cancelled or late request ends with.
absl::Status FinalStatus(const Completion& completion);

}  // namespace tessera
