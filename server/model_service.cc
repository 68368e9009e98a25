#include "server/model_service.h"

#include <memory>

#include "server/model_call.h"

namespace tessera {

ModelService::ModelService(const CallHost& host) {
  Add("/tessera.v1.ModelService/GetModel", [&host](grpc::CallbackServerContext* context) {
    return std::make_shared<GetModelCall>(host, context);
  });
  Add("/tessera.v1.ModelService/ListModels", [&host](grpc::CallbackServerContext* context) {
    return std::make_shared<ListModelsCall>(host, context);
  });
}

}  // namespace tessera
