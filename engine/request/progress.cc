#include "engine/request/progress.h"

#include <algorithm>

namespace tessera {
namespace {

double Milliseconds(Clock::duration duration) { return Seconds(duration) * 1e3; }

// When preparing began; it may be under way.
std::optional<Clock::time_point> PrepareBegan(const LiveRequest& request) {
  const Clock::rep since = request.preparing_since.load(std::memory_order_relaxed);
  if (since == 0) return std::nullopt;
  return Clock::time_point(Clock::duration(since));
}

void SetTimes(const LiveRequest& request, Clock::time_point now, Usage& usage) {
  const auto began = PrepareBegan(request);
  if (request.prepared) {
    usage.preprocess_ms = request.sequence.prompt.preprocess_seconds * 1e3;
  } else if (began) {
    usage.preprocess_ms = Milliseconds(now - *began);
  }
  usage.queue_ms = request.admitted
                       ? request.queue_seconds * 1e3
                       : Milliseconds(now - request.request.arrival) - usage.preprocess_ms;
  usage.encode_ms = request.encode_seconds * 1e3;
  if (request.prefill_began) {
    usage.prefill_ms = Milliseconds(request.first_token.value_or(now) - *request.prefill_began);
  }
  if (!request.first_token) return;
  usage.decode_ms = Milliseconds(*request.last_token - *request.first_token);
  usage.first_token_ms = Milliseconds(*request.first_token - request.request.arrival);
}

}  // namespace

Stage StageOf(const LiveRequest& request) {
  if (!request.prepared) return PrepareBegan(request) ? Stage::kPreprocess : Stage::kQueue;
  if (!request.admitted) return Stage::kQueue;
  if (request.first_token) return Stage::kDecode;
  const std::vector<bool>& ready = request.sequence.image_ready;
  return std::ranges::find(ready, false) == ready.end() ? Stage::kPrefill : Stage::kEncode;
}

Usage UsageOf(const LiveRequest& request, Clock::time_point now) {
  Usage usage;
  SetTimes(request, now, usage);
  if (!request.prepared) return usage;
  const Sequence& sequence = request.sequence;
  usage.prompt_tokens = sequence.prompt_rows();
  usage.image_tokens = sequence.prompt.image_rows();
  usage.text_tokens = usage.prompt_tokens - usage.image_tokens;
  usage.cached_tokens = sequence.cached_rows;
  usage.generated_tokens = sequence.generated();
  usage.preemptions = sequence.preemptions;
  usage.reduced_images = sequence.prompt.reduced_images;
  return usage;
}

}  // namespace tessera
