// The one gate of every call: made first in each handler, it gives the call its id, and whatever
// every call needs (identity, limits, traces) belongs here, as gRPC's server interceptors cannot
// refuse a call. Answer() makes the final status, counts it and writes the one line of log; it
// never holds a prompt. Lives as long as its call.
#pragma once

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/status.h"
#include "engine/request.h"
#include "server/convert.h"
#include "server/rpc_metrics.h"

namespace tessera {

class RpcGuard {
 public:
  // `request_id` is the client's; an empty or unusable one is replaced.
  RpcGuard(RpcMetrics& metrics, RpcMethod method, grpc::CallbackServerContext* context,
           const std::string& request_id);
  ~RpcGuard();
  RpcGuard(const RpcGuard&) = delete;
  RpcGuard& operator=(const RpcGuard&) = delete;

  const CallFacts& call() const { return call_; }
  // The client's deadline has passed, or will in a moment: where the call ends now, the client's
  // patience ended, and the engine ends the request by itself, as a deadline and not as a
  // cancellation.
  bool DeadlinePassed() const;

  // Exactly once, before the call's Finish().
  grpc::Status Answer(const Completion& completion);
  grpc::Status Answer(const absl::Status& status);

 private:
  void Log(const Completion& completion, const absl::Status& status, double seconds) const;

  RpcMetrics& metrics_;
  const RpcMethod method_;
  grpc::CallbackServerContext* const context_;
  const Clock::time_point start_ = Clock::now();
  CallFacts call_;
};

// What the client is told: the engine's status, or what a cancelled or late request ends with.
absl::Status FinalStatus(const Completion& completion);

}  // namespace tessera
