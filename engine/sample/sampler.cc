#include "engine/sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "engine/api/sampling_range.h"
#include "engine/base/random.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopIds = 64;
constexpr size_t kMaxBiases = 1024;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

bool Before(std::pair<int32_t, float> a, std::pair<int32_t, float> b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

using Adjustments = absl::flat_hash_map<int32_t, LogitAdjustment>;

LogitAdjustment& AdjustmentOf(int32_t id, Adjustments& adjustments) {
  LogitAdjustment& adjustment = adjustments[id];
  adjustment.id = id;
  return adjustment;
}

void AddPenalties(const SamplerInput& input, const SamplingParams& params,
                  Adjustments& adjustments) {
  const float repetition = params.repetition_penalty.value_or(1);
  const auto repeat = [&](int32_t id) {
    if (repetition != 1 && id >= 0 && id < input.vocabulary)
      AdjustmentOf(id, adjustments).repetition = repetition;
  };
  const auto rows = static_cast<size_t>(input.prompt_rows);
  if (input.prompt_stand_in) {
    repeat(*input.prompt_stand_in);
  } else {
    for (const int32_t id : input.tokens.first(rows)) repeat(id);
  }
  absl::flat_hash_map<int32_t, int32_t> counts;
  for (const int32_t id : input.tokens.subspan(rows)) {
    repeat(id);
    if (id >= 0 && id < input.vocabulary) ++counts[id];
  }
  if (params.presence_penalty == 0 && params.frequency_penalty == 0) return;
  for (const auto& [id, count] : counts) {
    AdjustmentOf(id, adjustments).added -=
        params.presence_penalty + params.frequency_penalty * static_cast<float>(count);
  }
}

absl::Status CheckScalars(const SamplingParams& params) {
  constexpr double kMaxTokens = 1e9;
  const SamplingRange max_tokens{"max_tokens", 0, kMaxTokens};
  const SamplingRange min_tokens{"min_tokens", 0,
                                 params.max_tokens > 0 ? params.max_tokens : kMaxTokens};
  const std::pair<SamplingRange, double> scalars[] = {
      {kTemperatureRange, params.temperature.value_or(0)},
      {kTopKRange, params.top_k.value_or(0)},
      {kTopPRange, params.top_p.value_or(1)},
      {kMinPRange, params.min_p.value_or(0)},
      {kRepetitionPenaltyRange, params.repetition_penalty.value_or(1)},
      {kPresencePenaltyRange, params.presence_penalty},
      {kFrequencyPenaltyRange, params.frequency_penalty},
      {max_tokens, params.max_tokens},
      {min_tokens, params.min_tokens},
      {kLogprobsRange, params.logprobs == -1 ? 0 : params.logprobs},
  };
  for (const auto& [range, value] : scalars) {
    if (range.Holds(value)) continue;
    return InvalidField(fmt::format("sampling.{}", range.field),
                        fmt::format("must be in {}, not {:.7g}", range.Interval(), value));
  }
  return absl::OkStatus();
}

absl::Status CheckCount(const char* field, size_t count, size_t most) {
  if (count <= most) return absl::OkStatus();
  return InvalidField(fmt::format("sampling.{}", field),
                      fmt::format("has {} entries; at most {} are taken", count, most));
}

absl::Status CheckToken(const std::string& field, int32_t id, int32_t vocabulary) {
  if (id >= 0 && id < vocabulary) return absl::OkStatus();
  return InvalidField(field, fmt::format("names token {}; ids are in [0, {})", id, vocabulary));
}

absl::Status CheckLogitBias(const SamplingParams& params, int32_t vocabulary) {
  RETURN_IF_ERROR(CheckCount("logit_bias", params.logit_bias.size(), kMaxBiases));
  for (const auto& [id, bias] : params.logit_bias) {
    const std::string field = fmt::format("sampling.logit_bias[{}]", id);
    RETURN_IF_ERROR(CheckToken(field, id, vocabulary));
    if (kLogitBiasRange.Holds(bias)) continue;
    return InvalidField(field,
                        fmt::format("must be in {}, not {:.7g}", kLogitBiasRange.Interval(), bias));
  }
  return absl::OkStatus();
}

absl::Status CheckStops(const SamplingParams& params, int32_t vocabulary) {
  RETURN_IF_ERROR(CheckCount("stop", params.stop.size(), kMaxStops));
  for (size_t i = 0; i < params.stop.size(); ++i) {
    const size_t bytes = params.stop[i].size();
    if (bytes >= 1 && bytes <= kMaxStopBytes) continue;
    return InvalidField(fmt::format("sampling.stop[{}]", i),
                        fmt::format("has {} bytes; 1 to {} are taken", bytes, kMaxStopBytes));
  }
  RETURN_IF_ERROR(CheckCount("stop_token_ids", params.stop_ids.size(), kMaxStopIds));
  for (size_t i = 0; i < params.stop_ids.size(); ++i) {
    RETURN_IF_ERROR(
        CheckToken(fmt::format("sampling.stop_token_ids[{}]", i), params.stop_ids[i], vocabulary));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSampling(const SamplingParams& params, int32_t vocabulary) {
  RETURN_IF_ERROR(CheckScalars(params));
  RETURN_IF_ERROR(CheckLogitBias(params, vocabulary));
  return CheckStops(params, vocabulary);
}

bool ReadsTokenHistory(const SamplingParams& params) {
  return params.repetition_penalty.value_or(1) != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

RowSampling ResolveSampling(const SamplerInput& input, const SamplingParams& params) {
  constexpr uint64_t kSamplerStream = 0x746f6b656e;
  RowSampling sampling;
  sampling.whole = params.logprobs >= 0;
  sampling.sample.temperature = params.temperature.value_or(0);
  sampling.sample.top_k = params.top_k.value_or(0);
  sampling.sample.top_p = params.top_p.value_or(1);
  sampling.sample.min_p = params.min_p.value_or(0);
  sampling.sample.uniform = UniformAt(params.seed, kSamplerStream, input.tokens.size());

  Adjustments adjustments;
  if (ReadsTokenHistory(params)) AddPenalties(input, params, adjustments);
  for (const auto& [id, bias] : params.logit_bias) AdjustmentOf(id, adjustments).added += bias;
  const int64_t generated = static_cast<int64_t>(input.tokens.size()) - input.prompt_rows;
  if (generated < params.min_tokens) {
    for (const int32_t id : input.end_ids) {
      if (id >= 0 && id < input.vocabulary) AdjustmentOf(id, adjustments).added = kMasked;
    }
  }
  for (const auto& [id, adjustment] : adjustments) sampling.adjustments.push_back(adjustment);
  return sampling;
}

Logprobs LogprobsOf(std::span<const float> logits, int32_t id, int32_t count) {
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
  const double log_sum = std::log(sum);
  const auto logprob = [&](int32_t of) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(of)]) - best -
                              log_sum);
  };
  std::vector<std::pair<int32_t, float>> top;
  for (size_t i = 0; i < logits.size(); ++i) top.emplace_back(static_cast<int32_t>(i), logits[i]);
  const auto end = top.begin() + std::min<int64_t>(count, static_cast<int64_t>(top.size()));
  std::partial_sort(top.begin(), end, top.end(), Before);
  Logprobs logprobs = {logprob(id), {}};
  for (auto it = top.begin(); it != end; ++it)
    logprobs.top.emplace_back(it->first, logprob(it->first));
  return logprobs;
}

}  // namespace tessera
