// One Generate call: gathers the engine's chunks into the answer. The engine's calls come one at a
// time and OnFinish is the last, so the answer needs no lock. Keeps itself alive until gRPC is done
// with it.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "engine/request.h"
#include "server/rpc_guard.h"
#include "server/submission.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class GenerateCall final : public grpc::ServerUnaryReactor,
                           public OutputSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(RpcMetrics& metrics, grpc::CallbackServerContext* context,
               const std::string& request_id, v1::GenerateResponse* response);

  RpcGuard& guard() { return guard_; }
  // Does the work, or ends the call with the refusal. Once, within the handler.
  void Start(absl::StatusOr<Work> work);

 private:
  // The engine's side.
  void OnAdmitted(const PromptInfo& prompt) override;
  void OnChunk(Chunk chunk) override;
  void OnFinish(const Completion& completion) override;
  // gRPC's side.
  void OnCancel() override;
  void OnDone() override;

  RpcGuard guard_;
  Submission submission_;
  v1::GenerateResponse* const response_;
  std::shared_ptr<GenerateCall> self_;  // until OnDone
};

}  // namespace tessera
