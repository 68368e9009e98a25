#include "server/model_service.h"

#include <string>
#include <utility>

#include "engine/status.h"
#include "server/convert.h"
#include "server/rpc_guard.h"

namespace tessera {

absl::StatusOr<v1::Model> ModelService::FindModel(const std::string& name) const {
  const Engine* engine = slot_.engine();
  if (engine == nullptr) return slot_.Get().status();
  RETURN_IF_ERROR(CheckModelName(name, engine->model()));
  return ToProto(engine->model());
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request,
                                                 v1::GetModelResponse* response) {
  RpcGuard guard(metrics_, RpcMethod::kGetModel, context, "");
  absl::StatusOr<v1::Model> model = FindModel(request->model());
  if (model.ok()) *response->mutable_model() = *std::move(model);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(guard.Answer(model.status()));
  return reactor;
}

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest*,
                                                   v1::ListModelsResponse* response) {
  RpcGuard guard(metrics_, RpcMethod::kListModels, context, "");
  absl::StatusOr<v1::Model> model = FindModel("");
  if (model.ok()) *response->add_models() = *std::move(model);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(guard.Answer(model.status()));
  return reactor;
}

}  // namespace tessera
