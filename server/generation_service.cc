#include "server/generation_service.h"

#include <memory>
#include <utility>

#include "engine/status.h"
#include "server/count_call.h"
#include "server/generate_call.h"
#include "server/generate_stream.h"

namespace tessera {

template <typename RequestMessage>
absl::StatusOr<Work> GenerationService::MakeWork(const RequestMessage& message,
                                                 const RpcGuard& guard) const {
  ASSIGN_OR_RETURN(Engine* const engine, slot_.Get());
  absl::StatusOr<Request> request = ToRequest(message, engine->model(), guard.call());
  // gRPC made the message for this call alone and keeps it until the call ends; the pictures are
  // the engine's now, which frees them early, and need not be held twice.
  const_cast<RequestMessage&>(message).clear_input();
  if (!request.ok()) return request.status();
  return Work{.engine = engine, .request = *std::move(request)};
}

grpc::ServerUnaryReactor* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                      const v1::GenerateRequest* request,
                                                      v1::GenerateResponse* response) {
  const auto call =
      std::make_shared<GenerateCall>(metrics_, context, request->request_id(), response);
  call->Start(MakeWork(*request, call->guard()));
  return call.get();
}

grpc::ServerWriteReactor<v1::StreamGenerateResponse>* GenerationService::StreamGenerate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  const auto stream = std::make_shared<GenerateStream>(metrics_, context, request->request_id());
  stream->Start(MakeWork(*request, stream->guard()));
  return stream.get();
}

grpc::ServerUnaryReactor* GenerationService::CountTokens(grpc::CallbackServerContext* context,
                                                         const v1::CountTokensRequest* request,
                                                         v1::CountTokensResponse* response) {
  const auto call = std::make_shared<CountCall>(metrics_, context, response);
  call->Start(MakeWork(*request, call->guard()), counting_);
  return call.get();
}

}  // namespace tessera
