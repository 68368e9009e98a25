#include "server/model_call.h"

#include <utility>

#include "engine/base/status.h"
#include "server/convert.h"

namespace tessera {

absl::StatusOr<MemoryBudget*> ModelCall::Admit() {
  Engine* const engine = slot().engine();
  if (engine == nullptr) return slot().Get().status();
  return &engine->memory();
}

absl::Status GetModelCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  v1::GetModelRequest request;
  RETURN_IF_ERROR(ParseMessage(std::move(bytes), memory, request));
  const ModelInfo& model = slot().engine()->model();
  RETURN_IF_ERROR(CheckModelName(request.model(), model));
  v1::GetModelResponse response;
  *response.mutable_model() = ToProto(model);
  Answer(SerializeMessage(response));
  return absl::OkStatus();
}

absl::Status ListModelsCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  v1::ListModelsRequest request;
  RETURN_IF_ERROR(ParseMessage(std::move(bytes), memory, request));
  v1::ListModelsResponse response;
  *response.add_models() = ToProto(slot().engine()->model());
  Answer(SerializeMessage(response));
  return absl::OkStatus();
}

}  // namespace tessera
