#include "server/generate_stream.h"

#include <iterator>
#include <utility>

#include "engine/status.h"

namespace tessera {
namespace {

size_t BytesOf(const std::vector<TokenLogprob>& logprobs) {
  size_t bytes = 0;
  for (const TokenLogprob& logprob : logprobs) bytes += sizeof(logprob) + logprob.bytes.size();
  return bytes;
}

size_t BytesOf(const Chunk& chunk) {
  size_t bytes = chunk.text.size() + chunk.token_ids.size() * sizeof(int32_t);
  bytes += BytesOf(chunk.logprobs);
  for (const auto& top : chunk.top_logprobs) bytes += sizeof(top) + BytesOf(top);
  return bytes;
}

template <typename T>
void MoveAppend(std::vector<T>& target, std::vector<T>& source) {
  target.insert(target.end(), std::make_move_iterator(source.begin()),
                std::make_move_iterator(source.end()));
}

void Append(Chunk& target, Chunk&& more) {
  target.text += more.text;
  MoveAppend(target.token_ids, more.token_ids);
  MoveAppend(target.logprobs, more.logprobs);
  MoveAppend(target.top_logprobs, more.top_logprobs);
}

void Fill(const PromptInfo& prompt, v1::PromptEvent* event) {
  event->mutable_prompt_token_ids()->Assign(prompt.token_ids.begin(), prompt.token_ids.end());
  event->set_text_tokens(prompt.text_tokens);
  event->set_image_tokens(prompt.image_tokens);
}

void Fill(Chunk chunk, v1::DeltaEvent* event) {
  event->set_text(std::move(chunk.text));
  event->mutable_token_ids()->Assign(chunk.token_ids.begin(), chunk.token_ids.end());
  AppendLogprobs(chunk, event->mutable_logprobs());
}

absl::Status TooSlow(size_t bytes) {
  return WithErrorMetadata(
      RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kSlowReader, "",
                   "the stream was read too slowly; read faster or ask for fewer logprobs"),
      "max_pending_bytes", std::to_string(bytes));
}

}  // namespace

GenerateStream::GenerateStream(RpcMetrics& metrics, grpc::CallbackServerContext* context,
                               const std::string& request_id, size_t max_pending_bytes)
    : guard_(metrics, RpcMethod::kStreamGenerate, context, request_id),
      max_pending_bytes_(max_pending_bytes) {}

void GenerateStream::Start(absl::StatusOr<Work> work) {
  self_ = shared_from_this();
  absl::Status status = work.status();
  if (work.ok()) {
    model_ = work->engine->model().name;
    status = submission_.Submit(*std::move(work), self_);
  }
  if (!status.ok()) OnFinish({.status = status, .finish_reason = FinishReason::kNone, .usage = {}});
}

void GenerateStream::OnAdmitted(const PromptInfo& prompt) {
  {
    const std::lock_guard lock(mutex_);
    prompt_ = prompt;
  }
  Advance();
}

void GenerateStream::OnChunk(Chunk chunk) {
  {
    const std::lock_guard lock(mutex_);
    if (reader_gone_ || too_slow_) return;
    delta_bytes_ += BytesOf(chunk);
    if (delta_bytes_ > max_pending_bytes_) {
      GiveUpLocked();
    } else {
      Append(delta_, std::move(chunk));
    }
  }
  Advance();
}

void GenerateStream::OnFinish(const Completion& completion) {
  {
    const std::lock_guard lock(mutex_);
    completion_ = completion;
    if (too_slow_) completion_->status = TooSlow(max_pending_bytes_);
  }
  Advance();
}

// The engine must not be called from its own thread, so the cancellation takes a detour over one of
// gRPC's.
void GenerateStream::GiveUpLocked() {
  too_slow_ = true;
  delta_ = {};
  delta_bytes_ = 0;
  cancel_alarm_.Set(gpr_now(GPR_CLOCK_MONOTONIC), [weak = weak_from_this()](bool) {
    if (const auto self = weak.lock()) self->submission_.Cancel();
  });
}

GenerateStream::Action GenerateStream::NextLocked() {
  if (writing_ || finished_) return Action::kNothing;
  if (!reader_gone_) {
    if (prompt_) {
      v1::PromptEvent* event = response_.mutable_prompt();
      event->set_request_id(guard_.call().request_id);
      event->set_model(model_);
      Fill(*std::exchange(prompt_, std::nullopt), event);
      writing_ = true;
      return Action::kWrite;
    }
    if (!delta_.token_ids.empty() || !delta_.text.empty()) {
      Fill(std::exchange(delta_, {}), response_.mutable_delta());
      delta_bytes_ = 0;
      writing_ = true;
      return Action::kWrite;
    }
  }
  if (!completion_) return Action::kNothing;
  finished_ = true;
  if (reader_gone_ && FinalStatus(*completion_).ok()) {
    completion_->status = absl::CancelledError("the caller cancelled");
  }
  if (!FinalStatus(*completion_).ok()) return Action::kFinish;
  v1::FinishEvent* event = response_.mutable_finish();
  event->set_finish_reason(ToProto(completion_->finish_reason));
  *event->mutable_usage() = ToProto(completion_->usage);
  return Action::kWriteAndFinish;
}

void GenerateStream::Advance() {
  Action action;
  {
    const std::lock_guard lock(mutex_);
    action = NextLocked();
  }
  switch (action) {
    case Action::kNothing:
      return;
    case Action::kWrite:
      return StartWrite(&response_);
    case Action::kWriteAndFinish:
      return StartWriteAndFinish(&response_, grpc::WriteOptions(), guard_.Answer(*completion_));
    case Action::kFinish:
      return Finish(guard_.Answer(*completion_));
  }
}

void GenerateStream::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
  }
  if (!ok) return LoseReader();
  Advance();
}

void GenerateStream::OnCancel() { LoseReader(); }

void GenerateStream::LoseReader() {
  {
    const std::lock_guard lock(mutex_);
    reader_gone_ = true;
    delta_ = {};
    delta_bytes_ = 0;
  }
  if (!guard_.DeadlinePassed()) submission_.Cancel();
  Advance();
}

void GenerateStream::OnDone() { self_.reset(); }

}  // namespace tessera
