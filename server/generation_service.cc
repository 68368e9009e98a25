#include "server/generation_service.h"

#include <memory>

#include "server/count_call.h"
#include "server/generate_call.h"
#include "server/generate_stream.h"

namespace tessera {

GenerationService::GenerationService(const CallHost& host) {
  Add("/tessera.v1.GenerationService/Generate", [&host](grpc::CallbackServerContext* context) {
    return std::make_shared<GenerateCall>(host, context);
  });
  Add("/tessera.v1.GenerationService/StreamGenerate",
      [&host](grpc::CallbackServerContext* context) {
        return std::make_shared<GenerateStream>(host, context);
      });
  Add("/tessera.v1.GenerationService/CountTokens",
      [&host, this](grpc::CallbackServerContext* context) {
        return std::make_shared<CountCall>(host, context, counting_);
      });
}

}  // namespace tessera
