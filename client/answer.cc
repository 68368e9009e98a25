#include "client/answer.h"

namespace tessera {

absl::Status Answer::Add(const v1::StreamGenerateResponse& event) {
  const Stage expected = event.has_prompt() ? Stage::kEmpty : Stage::kPrompted;
  if (stage_ != expected || event.event_case() == v1::StreamGenerateResponse::EVENT_NOT_SET) {
    return absl::InternalError("the server sent an event out of order: " +
                               event.ShortDebugString());
  }
  if (event.has_prompt()) {
    response_.set_request_id(event.prompt().request_id());
    response_.set_model(event.prompt().model());
    *response_.mutable_prompt_token_ids() = event.prompt().prompt_token_ids();
    stage_ = Stage::kPrompted;
  } else if (event.has_delta()) {
    response_.mutable_text()->append(event.delta().text());
    response_.mutable_token_ids()->MergeFrom(event.delta().token_ids());
    response_.mutable_logprobs()->MergeFrom(event.delta().logprobs());
  } else {
    response_.set_finish_reason(event.finish().finish_reason());
    *response_.mutable_usage() = event.finish().usage();
    stage_ = Stage::kFinished;
  }
  return absl::OkStatus();
}

absl::Status Answer::CheckComplete() const {
  if (finished()) return absl::OkStatus();
  return absl::InternalError("the server ended the stream without a finish event");
}

}  // namespace tessera
