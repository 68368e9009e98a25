// One call of grpc.reflection: a request, its response, the next request, until the client has
// none. It answers also while the model loads and while the server drains.
#pragma once

#include "server/rpc_call.h"

namespace tessera {

class ReflectionCall final : public RpcCall {
 public:
  ReflectionCall(const CallHost& host, grpc::CallbackServerContext* context)
      : RpcCall(host, RpcMethod::kReflect, context) {}

 private:
  absl::StatusOr<MemoryBudget*> Admit() override { return &own_memory(); }
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
  void OnWritten(bool ok) override { ok ? ReceiveNext() : End(guard().Lost()); }
  void OnNoMore() override { End(absl::OkStatus()); }
};

}  // namespace tessera
