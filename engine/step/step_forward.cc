// The step loop's work with the model: queueing a step, and taking what it gave when the device has
// done it.
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/step/batch_builder.h"
#include "engine/step/step_loop.h"

namespace tessera {

void StepLoop::Launch(const StepPlan& plan) {
  TESSERA_CHECK(!flight_);
  const bool gumbel = model_options_.router == RouterMode::kGumbel;
  BuiltBatch built =
      BuildBatch(plan, options_.block_size, model_.spec.decoder.position_axes(), gumbel);
  built.batch.drawn = drawn_->tensor();
  Flight& flight = flight_.emplace();
  flight.launched = Clock::now();
  flight.decoding_rows = plan.decoding_rows;
  flight.prefill_rows = plan.total_rows - plan.decoding_rows;
  for (const BlockCopy& copy : plan.copies) cache_->CopyBlock(backend_, copy.from, copy.to);
  const DecoderOutput output = model_.decoder->Forward(built.batch, *cache_, nullptr);
  if (!output.logits.empty()) {
    std::vector<RowSampling> samplings;
    for (const LiveRequest* request : built.sampling) {
      samplings.push_back(SamplingOf(*request));
      flight.sampling.push_back(request->ticket);
      flight.looked_back_on = flight.looked_back_on || LooksBack(request->sequence.sampling);
    }
    flight.tokens.emplace(backend_, output.logits, model_.info.vocabulary, samplings,
                          drawn_->tensor());
  }
  if (telemetry_.counts_routing()) StartChoices(output.expert_choices, flight);
  flight.image_row = std::move(built.image_row);
  backend_.ResetArena();
  scheduler_.Advance(plan);
  ReleasePictures(plan, flight);
}

void StepLoop::StartChoices(std::span<const Tensor> choices, Flight& flight) {
  flight.choices.resize(choices.size());
  std::vector<Download> downloads;
  for (size_t i = 0; i < choices.size(); ++i) downloads.emplace_back(choices[i], flight.choices[i]);
  flight.choices_arrival = backend_.StartDownload(downloads);
}

void StepLoop::Land(Flight flight) {
  if (flight.tokens) flight.tokens->Wait();
  if (flight.choices_arrival != nullptr) flight.choices_arrival->Wait();
  const Clock::time_point now = Clock::now();
  // The device began when the step was queued or, where it was busy, when it had done the one
  // before.
  const double seconds = Seconds(now - std::max(flight.launched, landed_));
  landed_ = now;
  backend_seconds_ += seconds;
  pace_.LearnForward(flight.decoding_rows, flight.prefill_rows, seconds);
  telemetry_.CountRouting(flight.choices, flight.image_row);
  for (size_t row = 0; row < flight.sampling.size(); ++row) {
    const auto found = live_.find(flight.sampling[row]);
    if (found == live_.end()) continue;  // it ended meanwhile
    if (!flight.tokens->finite(row)) {
      Finish(*found->second,
             RequestError(absl::StatusCode::kInternal, ErrorReason::kEngineFailure, "",
                          "the model's output is not finite"),
             FinishReason::kNone, Outcome::kFailed);
      continue;
    }
    Deliver(*found->second, TakeToken(*found->second, *flight.tokens, row, now));
  }
}

RowSampling StepLoop::SamplingOf(const LiveRequest& request) const {
  const Sequence& sequence = request.sequence;
  TESSERA_CHECK(sequence.unknown == 0 || !LooksBack(sequence.sampling));
  SamplerInput input{
      model_.info.vocabulary, sequence.tokens, sequence.prompt_rows(), {}, request.end_ids};
  if (model_.spec.repetition.bos_for_prompt) input.prompt_stand_in = model_.tokenizer->bos();
  return ResolveSampling(input, sequence.sampling);
}

Chunk StepLoop::TakeToken(LiveRequest& request, const StepTokens& tokens, size_t row,
                          Clock::time_point now) {
  const int32_t token = tokens.token(row);
  scheduler_.Settle(&request.sequence, token);
  Chunk chunk;
  chunk.token_ids.push_back(token);
  const int32_t wanted = request.sequence.sampling.logprobs;
  if (wanted >= 0) {
    const Logprobs logprobs = LogprobsOf(tokens.logits(row), token, wanted);
    const auto describe = [&](int32_t id, float logprob) {
      return TokenLogprob{id, std::string(model_.tokenizer->TokenBytes(id)), logprob};
    };
    chunk.logprobs.push_back(describe(token, logprobs.chosen));
    std::vector<TokenLogprob>& top = chunk.top_logprobs.emplace_back();
    for (const auto& [id, logprob] : logprobs.top) top.push_back(describe(id, logprob));
  }
  const bool first = !request.first_token.has_value();
  const double since = Seconds(now - (first ? request.request.arrival : *request.last_token));
  if (first) request.first_token = now;
  request.last_token = now;
  telemetry_.Write([&](EngineStats& stats) {
    ++stats.generated_tokens;
    (first ? stats.time_to_first_token : stats.inter_token).Observe(since);
  });
  return chunk;
}

void StepLoop::Deliver(LiveRequest& request, Chunk chunk) {
  const Sequence& sequence = request.sequence;
  const int32_t id = chunk.token_ids.back();
  const bool may_stop = sequence.generated() > sequence.sampling.min_tokens;
  const bool ended =
      std::find(request.end_ids.begin(), request.end_ids.end(), id) != request.end_ids.end();
  const bool full = sequence.known_rows() >= sequence.max_rows;
  Answer::Text text = request.answer->Push(id, may_stop);
  chunk.text = std::move(text.text);
  const bool finished = text.stopped || ended || full;
  if (finished) chunk.text += request.answer->Finish();
  request.sink->OnChunk(std::move(chunk));
  if (!finished) return;
  const bool stopped = text.stopped || ended;
  Finish(request, absl::OkStatus(), stopped ? FinishReason::kStop : FinishReason::kLength,
         stopped ? Outcome::kStop : Outcome::kLength);
}

}  // namespace tessera
