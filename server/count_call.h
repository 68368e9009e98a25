// One CountTokens call. Counting decodes headers of images and tokenizes, so it runs on the task
// queue. What waits there is freed as soon as its client has left.
#pragma once

#include <mutex>
#include <optional>

#include "server/rpc_call.h"
#include "server/task_queue.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class CountCall final : public RpcCall {
 public:
  CountCall(const CallHost& host, grpc::CallbackServerContext* context, TaskQueue& tasks)
      : RpcCall(host, RpcMethod::kCountTokens, context), tasks_(tasks) {}

 private:
  absl::StatusOr<MemoryBudget*> Admit() override { return AdmitWork(slot()); }
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
  void OnCancel() override;
  // The work, for whom asks first.
  std::optional<Work> TakeWork();
  void Count();

  TaskQueue& tasks_;
  std::mutex mutex_;
  std::optional<Work> work_;  // guarded by mutex_
};

}  // namespace tessera
