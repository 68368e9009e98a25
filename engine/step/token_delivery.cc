#include "engine/step/token_delivery.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace tessera {

void TokenDelivery::Deliver(LiveRequest& request, const StepTokens& tokens, size_t row,
                            Clock::time_point now) {
  if (!tokens.finite(row)) {
    requests_.Fail(request, RequestError(absl::StatusCode::kInternal, ErrorReason::kEngineFailure,
                                         "", "the model's output is not finite"));
    return;
  }
  const int32_t token = tokens.token(row);
  scheduler_.Settle(&request.sequence, token);
  NoteTime(request, now);
  Chunk chunk = MakeChunk(request, tokens, row);
  const Sequence& sequence = request.sequence;
  const bool may_stop = sequence.generated() > request.request.sampling.min_tokens;
  const bool ended = std::ranges::find(request.end_ids, token) != request.end_ids.end();
  const bool full = sequence.known_rows() >= sequence.max_rows;
  Answer::Text text = request.answer->Push(token, may_stop);
  chunk.text = std::move(text.text);
  const bool finished = text.stopped || ended || full;
  if (finished) chunk.text += request.answer->Finish();
  request.sink->OnChunk(std::move(chunk));
  if (!finished) return;
  const bool stopped = text.stopped || ended;
  requests_.Finish(request, absl::OkStatus(),
                   stopped ? FinishReason::kStop : FinishReason::kLength);
}

// The token and, where they are asked for, its log-probability and the best ones; the text is still
// missing.
Chunk TokenDelivery::MakeChunk(const LiveRequest& request, const StepTokens& tokens,
                               size_t row) const {
  const int32_t token = tokens.token(row);
  Chunk chunk;
  chunk.token_ids.push_back(token);
  const int32_t wanted = request.request.sampling.logprobs;
  if (wanted < 0) return chunk;
  const Logprobs logprobs = LogprobsOf(tokens.logits(row), token, wanted);
  const auto describe = [&](int32_t id, float logprob) {
    return TokenLogprob{id, std::string(model_.tokenizer->TokenBytes(id)), logprob};
  };
  chunk.logprobs.push_back(describe(token, logprobs.chosen));
  std::vector<TokenLogprob>& top = chunk.top_logprobs.emplace_back();
  for (const auto& [id, logprob] : logprobs.top) top.push_back(describe(id, logprob));
  return chunk;
}

void TokenDelivery::NoteTime(LiveRequest& request, Clock::time_point now) {
  const bool first = !request.first_token.has_value();
  const double since = Seconds(now - (first ? request.request.arrival : *request.last_token));
  if (first) request.first_token = now;
  request.last_token = now;
  telemetry_.Write([&](EngineStats& stats) {
    ++stats.generated_tokens;
    (first ? stats.time_to_first_token : stats.inter_token).Observe(since);
  });
}

}  // namespace tessera
