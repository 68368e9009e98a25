// tessera.v1.GenerationService: checks, converts and hands each call to its own object; no state of
// its own.
#pragma once

#include "absl/status/statusor.h"
#include "server/engine_slot.h"
#include "server/rpc_guard.h"
#include "server/submission.h"
#include "server/task_queue.h"
#include "tessera/v1/generation.grpc.pb.h"

namespace tessera {

class GenerationService final : public v1::GenerationService::CallbackService {
 public:
  // Both must outlive the service.
  GenerationService(const EngineSlot& slot, RpcMetrics& metrics) : slot_(slot), metrics_(metrics) {}

 private:
  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const v1::GenerateRequest* request,
                                     v1::GenerateResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamGenerateResponse>* StreamGenerate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) override;

  // The engine and the checked request, or why there is no work to do.
  template <typename RequestMessage>
  absl::StatusOr<Work> MakeWork(const RequestMessage& message, const RpcGuard& guard) const;

  const EngineSlot& slot_;
  RpcMetrics& metrics_;
  TaskQueue counting_{64};
};

}  // namespace tessera
