#include "server/count_call.h"

#include <string>
#include <utility>

namespace tessera {

CountCall::CountCall(RpcMetrics& metrics, grpc::CallbackServerContext* context,
                     v1::CountTokensResponse* response)
    : guard_(metrics, RpcMethod::kCountTokens, context, ""), response_(response) {}

void CountCall::Start(absl::StatusOr<Work> work, TaskQueue& tasks) {
  self_ = shared_from_this();
  absl::Status status = work.status();
  if (work.ok()) {
    status = tasks.Post([self = self_, work = *std::move(work)] { self->Count(work); });
  }
  if (!status.ok()) Finish(guard_.Answer(status));
}

void CountCall::Count(const Work& work) {
  if (cancelled_) {
    const bool late = guard_.DeadlinePassed();
    return Finish(guard_.Answer(
        Completion{.status = absl::OkStatus(),
                   .finish_reason = late ? FinishReason::kDeadline : FinishReason::kCancelled,
                   .usage = {}}));
  }
  const absl::StatusOr<PromptInfo> prompt = work.engine->CountTokens(work.request);
  if (prompt.ok()) {
    response_->set_prompt_tokens(prompt->text_tokens + prompt->image_tokens);
    response_->set_text_tokens(prompt->text_tokens);
    response_->set_image_tokens(prompt->image_tokens);
    response_->mutable_prompt_token_ids()->Assign(prompt->token_ids.begin(),
                                                  prompt->token_ids.end());
  }
  Finish(guard_.Answer(prompt.status()));
}

}  // namespace tessera
