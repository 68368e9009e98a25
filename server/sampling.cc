#include "server/sampling.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/api/sampling_range.h"
#include "engine/base/status.h"
#include "engine/sample/sampler.h"

namespace tessera {
namespace {

// What the message tells beside its values: which fields are there, and the model's context.
absl::Status CheckLengths(const v1::SamplingParams& message, const ModelInfo& model) {
  const auto check = [](const char* field, int32_t value, int32_t low, int32_t high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return InvalidField(fmt::format("sampling.{}", field),
                        fmt::format("must be in [{}, {}], not {}", low, high, value));
  };
  if (message.has_max_tokens()) {
    RETURN_IF_ERROR(check("max_tokens", message.max_tokens(), 1, model.max_context));
  }
  if (message.has_logprobs()) {
    RETURN_IF_ERROR(
        check("logprobs", message.logprobs(), 0, static_cast<int32_t>(kLogprobsRange.high)));
  }
  const int32_t most = message.has_max_tokens() ? message.max_tokens() : model.max_context;
  return check("min_tokens", message.min_tokens(), 0, most);
}

}  // namespace

absl::StatusOr<SamplingParams> ToSampling(const v1::SamplingParams& message, const ModelInfo& model,
                                          uint64_t seed) {
  SamplingParams result;
  if (message.has_temperature()) result.temperature = message.temperature();
  if (message.has_top_k()) result.top_k = message.top_k();
  if (message.has_top_p()) result.top_p = message.top_p();
  if (message.has_min_p()) result.min_p = message.min_p();
  if (message.has_repetition_penalty()) result.repetition_penalty = message.repetition_penalty();
  if (message.has_presence_penalty()) result.presence_penalty = message.presence_penalty();
  if (message.has_frequency_penalty()) result.frequency_penalty = message.frequency_penalty();
  if (message.has_logprobs()) result.logprobs = message.logprobs();
  result.max_tokens = message.max_tokens();
  result.min_tokens = message.min_tokens();
  result.seed = message.has_seed() ? message.seed() : seed;
  result.ignore_eos = message.ignore_eos();
  result.logit_bias.assign(message.logit_bias().begin(), message.logit_bias().end());
  result.stop.assign(message.stop().begin(), message.stop().end());
  result.stop_ids.assign(message.stop_token_ids().begin(), message.stop_token_ids().end());
  RETURN_IF_ERROR(CheckLengths(message, model));
  RETURN_IF_ERROR(CheckSampling(result, model.vocabulary));
  std::ranges::sort(result.logit_bias);  // a map comes in any order
  return result;
}

}  // namespace tessera
