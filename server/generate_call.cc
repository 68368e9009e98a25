#include "server/generate_call.h"

#include <utility>

namespace tessera {

GenerateCall::GenerateCall(RpcMetrics& metrics, grpc::CallbackServerContext* context,
                           const std::string& request_id, v1::GenerateResponse* response)
    : guard_(metrics, RpcMethod::kGenerate, context, request_id), response_(response) {}

void GenerateCall::Start(absl::StatusOr<Work> work) {
  self_ = shared_from_this();
  absl::Status status = work.status();
  if (work.ok()) {
    response_->set_request_id(guard_.call().request_id);
    response_->set_model(work->engine->model().name);
    status = submission_.Submit(*std::move(work), self_);
  }
  if (!status.ok()) Finish(guard_.Answer(status));
}

void GenerateCall::OnAdmitted(const PromptInfo& prompt) {
  response_->mutable_prompt_token_ids()->Assign(prompt.token_ids.begin(), prompt.token_ids.end());
}

void GenerateCall::OnChunk(Chunk chunk) {
  response_->mutable_text()->append(chunk.text);
  response_->mutable_token_ids()->Add(chunk.token_ids.begin(), chunk.token_ids.end());
  AppendLogprobs(chunk, response_->mutable_logprobs());
}

void GenerateCall::OnFinish(const Completion& completion) {
  response_->set_finish_reason(ToProto(completion.finish_reason));
  *response_->mutable_usage() = ToProto(completion.usage);
  Finish(guard_.Answer(completion));
}

void GenerateCall::OnCancel() {
  if (!guard_.DeadlinePassed()) submission_.Cancel();
}

void GenerateCall::OnDone() { self_.reset(); }

}  // namespace tessera
