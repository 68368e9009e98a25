// tessera.v1.ModelService: what is served. Answers also while the server drains.
#pragma once

#include "server/engine_slot.h"
#include "server/rpc_metrics.h"
#include "tessera/v1/model.grpc.pb.h"

namespace tessera {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  // Both must outlive the service.
  ModelService(const EngineSlot& slot, RpcMetrics& metrics) : slot_(slot), metrics_(metrics) {}

 private:
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

  // The one that is served, if it is called `name`.
  absl::StatusOr<v1::Model> FindModel(const std::string& name) const;

  const EngineSlot& slot_;
  RpcMetrics& metrics_;
};

}  // namespace tessera
