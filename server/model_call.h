// GetModel and ListModels: what is served. They answer also while the server drains.
#pragma once

#include "server/rpc_call.h"
#include "tessera/v1/model.pb.h"

namespace tessera {

class ModelCall : public RpcCall {
 protected:
  using RpcCall::RpcCall;

  absl::StatusOr<MemoryBudget*> Admit() override;
};

class GetModelCall final : public ModelCall {
 public:
  GetModelCall(const CallHost& host, grpc::CallbackServerContext* context)
      : ModelCall(host, RpcMethod::kGetModel, context) {}

 private:
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
};

class ListModelsCall final : public ModelCall {
 public:
  ListModelsCall(const CallHost& host, grpc::CallbackServerContext* context)
      : ModelCall(host, RpcMethod::kListModels, context) {}

 private:
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
};

}  // namespace tessera
