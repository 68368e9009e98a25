// One CountTokens call. Counting decodes headers of pictures and tokenizes, so it runs on the task
// queue. Keeps itself alive until gRPC is done with it.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>

#include "server/rpc_guard.h"
#include "server/submission.h"
#include "server/task_queue.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class CountCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<CountCall> {
 public:
  CountCall(RpcMetrics& metrics, grpc::CallbackServerContext* context,
            v1::CountTokensResponse* response);

  RpcGuard& guard() { return guard_; }
  // Does the work, or ends the call with the refusal. Once, within the handler.
  void Start(absl::StatusOr<Work> work, TaskQueue& tasks);

 private:
  void Count(const Work& work);
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { self_.reset(); }

  RpcGuard guard_;
  v1::CountTokensResponse* const response_;
  std::atomic<bool> cancelled_ = false;
  std::shared_ptr<CountCall> self_;  // until OnDone
};

}  // namespace tessera
