#include "server/generate_stream.h"

#include <iterator>
#include <utility>

#include "engine/base/status.h"
#include "server/convert.h"

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

absl::Status GenerateStream::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  ASSIGN_OR_RETURN(Work work, MakeWork<v1::GenerateRequest>(slot(), guard(), std::move(bytes),
                                                            std::move(memory)));
  model_ = work.engine->model().name;
  guard().SetStage("queue");
  return submission_.Submit(std::move(work),
                            std::static_pointer_cast<GenerateStream>(shared_from_this()));
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
      if (writing_) NotePending(delta_bytes_);
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
    const auto self = std::static_pointer_cast<GenerateStream>(weak.lock());
    if (self != nullptr) self->submission_.Cancel(FinishReason::kCancelled);
  });
}

GenerateStream::Action GenerateStream::NextLocked(grpc::ByteBuffer& event) {
  if (writing_ || finished_) return Action::kNothing;
  if (!reader_gone_) {
    if (prompt_) {
      v1::StreamGenerateResponse response;
      response.mutable_prompt()->set_request_id(guard().call().request_id);
      response.mutable_prompt()->set_model(model_);
      Fill(*std::exchange(prompt_, std::nullopt), response.mutable_prompt());
      event = SerializeMessage(response);
      writing_ = true;
      return Action::kWrite;
    }
    if (!delta_.token_ids.empty() || !delta_.text.empty()) {
      v1::StreamGenerateResponse response;
      Fill(std::exchange(delta_, {}), response.mutable_delta());
      event = SerializeMessage(response);
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
  v1::StreamGenerateResponse response;
  response.mutable_finish()->set_finish_reason(ToProto(completion_->finish_reason));
  *response.mutable_finish()->mutable_usage() = ToProto(completion_->usage);
  event = SerializeMessage(response);
  return Action::kWriteAndFinish;
}

void GenerateStream::Advance() {
  Action action;
  grpc::ByteBuffer event;
  {
    const std::lock_guard lock(mutex_);
    action = NextLocked(event);
  }
  switch (action) {
    case Action::kNothing:
      return;
    case Action::kWrite:
      return Write(std::move(event));
    case Action::kWriteAndFinish:
      return WriteAndFinish(std::move(event), guard().Answer(*completion_));
    case Action::kFinish:
      return End(*completion_);
  }
}

void GenerateStream::OnWritten(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
  }
  if (!ok) return LoseReader();
  Advance();
}

void GenerateStream::OnReaderTooSlow() {
  const std::lock_guard lock(mutex_);
  too_slow_ = true;
  if (completion_ && !finished_) completion_->status = TooSlow(max_pending_bytes_);
}

void GenerateStream::LoseReader() {
  {
    const std::lock_guard lock(mutex_);
    reader_gone_ = true;
    delta_ = {};
    delta_bytes_ = 0;
  }
  submission_.Cancel(guard().Lost().finish_reason);
  Advance();
}

}  // namespace tessera
