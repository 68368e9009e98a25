// One Generate call: gathers the engine's chunks into the answer. The engine's calls come one at a
// time and OnFinish is the last, so the answer needs no lock.
#pragma once

#include "engine/api/request.h"
#include "server/rpc_call.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class GenerateCall final : public RpcCall, public OutputSink {
 public:
  GenerateCall(const CallHost& host, grpc::CallbackServerContext* context)
      : RpcCall(host, RpcMethod::kGenerate, context) {}

 private:
  absl::StatusOr<MemoryBudget*> Admit() override { return AdmitWork(slot()); }
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
  // The engine's side.
  void OnAdmitted(const PromptInfo& prompt) override;
  void OnChunk(Chunk chunk) override;
  void OnFinish(const Completion& completion) override;
  // gRPC's side.
  void OnCancel() override { submission_.Cancel(guard().Lost().finish_reason); }

  Submission submission_;
  v1::GenerateResponse response_;
};

}  // namespace tessera
