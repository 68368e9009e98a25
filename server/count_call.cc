#include "server/count_call.h"

#include <utility>

#include "engine/base/status.h"
#include "server/convert.h"

namespace tessera {

absl::Status CountCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  ASSIGN_OR_RETURN(Work work, MakeWork<v1::CountTokensRequest>(slot(), guard(), std::move(bytes),
                                                               std::move(memory)));
  guard().SetStage("queue");
  {
    const std::lock_guard lock(mutex_);
    work_ = std::move(work);
  }
  const absl::Status status = tasks_.Post(
      [self = std::static_pointer_cast<CountCall>(shared_from_this())] { self->Count(); });
  // Whoever has taken the work ends the call.
  if (!status.ok()) return TakeWork() ? status : absl::OkStatus();
  if (guard().IsCancelled()) OnCancel();  // it may have come before there was work
  return absl::OkStatus();
}

std::optional<Work> CountCall::TakeWork() {
  const std::lock_guard lock(mutex_);
  return std::exchange(work_, std::nullopt);
}

void CountCall::OnCancel() {
  if (TakeWork()) End(guard().Lost());
}

void CountCall::Count() {
  const std::optional<Work> work = TakeWork();
  if (!work) return;
  guard().SetStage("counting");
  const absl::StatusOr<PromptInfo> prompt = work->engine->CountTokens(work->request);
  if (guard().IsCancelled()) return End(guard().Lost());
  if (!prompt.ok()) return End(prompt.status());
  v1::CountTokensResponse response;
  response.set_prompt_tokens(prompt->text_tokens + prompt->image_tokens);
  response.set_text_tokens(prompt->text_tokens);
  response.set_image_tokens(prompt->image_tokens);
  response.mutable_prompt_token_ids()->Assign(prompt->token_ids.begin(), prompt->token_ids.end());
  Answer(SerializeMessage(response));
}

}  // namespace tessera
