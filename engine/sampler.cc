#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "engine/check.h"
#include "engine/random.h"
#include "engine/sampling_range.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopIds = 64;
constexpr size_t kMaxBiases = 1024;
constexpr float kBarred = -std::numeric_limits<float>::infinity();

bool Before(std::pair<int32_t, float> a, std::pair<int32_t, float> b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

// Log-probabilities of the chosen token and the best ones.
void AddLogprobs(std::span<const float> logits, int32_t count, SampledToken& token) {
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
  const double log_sum = std::log(sum);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)]) - best - log_sum);
  };
  token.logprob = logprob(token.id);
  std::vector<std::pair<int32_t, float>> top;
  for (size_t id = 0; id < logits.size(); ++id) top.emplace_back(static_cast<int32_t>(id), logits[id]);
  const auto end = top.begin() + std::min<int64_t>(count, static_cast<int64_t>(top.size()));
  std::partial_sort(top.begin(), end, top.end(), Before);
  for (auto it = top.begin(); it != end; ++it) token.top.emplace_back(it->first, logprob(it->first));
}

void ApplyPenalties(const SamplerInput& input, const SamplingParams& params,
                    std::span<float> logits) {
  const float penalty = params.repetition_penalty.value_or(1);
  absl::flat_hash_map<int32_t, int32_t> answer_counts;
  const auto count = [&](int32_t id, int32_t in_answer) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) return;
    const auto [entry, inserted] = answer_counts.try_emplace(id, 0);
    entry->second += in_answer;
    if (!inserted || penalty == 1) return;
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  };
  const auto rows = static_cast<size_t>(input.prompt_rows);
  if (input.prompt_stand_in) {
    count(*input.prompt_stand_in, 0);
  } else {
    for (const int32_t id : input.tokens.first(rows)) count(id, 0);
  }
  for (const int32_t id : input.tokens.subspan(rows)) count(id, 1);
  for (const auto& [id, count] : answer_counts) {
    if (count == 0) continue;
    logits[static_cast<size_t>(id)] -=
        params.presence_penalty + params.frequency_penalty * static_cast<float>(count);
  }
}

// Logits as the draw sees them, before temperature.
std::vector<float> Adjusted(const SamplerInput& input, const SamplingParams& params) {
  std::vector<float> logits(input.logits.begin(), input.logits.end());
  if (params.repetition_penalty.value_or(1) != 1 || params.presence_penalty != 0 ||
      params.frequency_penalty != 0) {
    ApplyPenalties(input, params, logits);
  }
  for (const auto& [id, bias] : params.logit_bias) logits[static_cast<size_t>(id)] += bias;
  const int64_t generated = static_cast<int64_t>(input.tokens.size()) - input.prompt_rows;
  if (generated < params.min_tokens) {
    for (const int32_t id : input.end_ids) {
      if (id >= 0 && static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] = kBarred;
    }
  }
  return logits;
}

int32_t Best(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Walks the candidates in the order given until their weights pass `share` of the total.
int32_t DrawFrom(std::span<const std::pair<int32_t, double>> candidates, double uniform) {
  double total = 0;
  for (const auto& [id, weight] : candidates) total += weight;
  double left = uniform * total;
  for (const auto& [id, weight] : candidates) {
    left -= weight;
    if (left < 0) return id;
  }
  return candidates.back().first;
}

// Candidates with weights exp((logit - best) / temperature) that survive top-k, top-p and min-p. None when `best` is not finite.
std::vector<std::pair<int32_t, double>> Candidates(std::span<const float> logits,
                                                   const SamplingParams& params) {
  const float temperature = params.temperature.value_or(0);
  const int32_t top_k = params.top_k.value_or(0);
  const float top_p = params.top_p.value_or(1);
  const float min_p = params.min_p.value_or(0);
  const double best = logits[static_cast<size_t>(Best(logits))];
  std::vector<std::pair<int32_t, double>> candidates;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double weight = std::exp((logits[id] - best) / temperature);
    if (weight > 0) candidates.emplace_back(static_cast<int32_t>(id), weight);
  }
  const bool filtered = top_k > 0 || top_p < 1 || min_p > 0;
  if (!filtered) return candidates;
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  if (top_k > 0 && static_cast<size_t>(top_k) < candidates.size()) {
    candidates.resize(static_cast<size_t>(top_k));
  }
  double total = 0;
  for (const auto& [id, weight] : candidates) total += weight;
  double reached = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || (reached < top_p * total && candidates[kept].second >= min_p))) {
    reached += candidates[kept++].second;
  }
  candidates.resize(kept);
  return candidates;
}

absl::Status CheckScalars(const SamplingParams& params) {
  constexpr double kMostTokens = 1e9;
  const SamplingRange max_tokens{"max_tokens", 0, kMostTokens};
  const SamplingRange min_tokens{"min_tokens", 0,
                                 params.max_tokens > 0 ? params.max_tokens : kMostTokens};
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
    return InvalidField(field, fmt::format("must be in {}, not {:.7g}", kLogitBiasRange.Interval(), bias));
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
    RETURN_IF_ERROR(CheckToken(fmt::format("sampling.stop_token_ids[{}]", i), params.stop_ids[i],
                               vocabulary));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSampling(const SamplingParams& params, int32_t vocabulary) {
  RETURN_IF_ERROR(CheckScalars(params));
  RETURN_IF_ERROR(CheckLogitBias(params, vocabulary));
  return CheckStops(params, vocabulary);
}

bool TakesLargest(const SamplingParams& params, int64_t generated) {
  return params.temperature.value_or(0) == 0 && params.repetition_penalty.value_or(1) == 1 &&
         params.presence_penalty == 0 && params.frequency_penalty == 0 &&
         params.logit_bias.empty() && generated >= params.min_tokens && params.logprobs < 0;
}

SampledToken SampleToken(const SamplerInput& input, const SamplingParams& params) {
  TESSERA_CHECK(!input.logits.empty());
  SampledToken token;
  const std::vector<float> logits = Adjusted(input, params);
  if (params.temperature.value_or(0) == 0) {
    token.id = Best(logits);
  } else {
    constexpr uint64_t kSamplerStream = 0x746f6b656e;
    const std::vector<std::pair<int32_t, double>> candidates = Candidates(logits, params);
    token.id = candidates.empty()
                   ? Best(logits)
                   : DrawFrom(candidates,
                              UniformAt(params.seed, kSamplerStream, input.tokens.size()));
  }
  if (params.logprobs >= 0) AddLogprobs(input.logits, params.logprobs, token);
  return token;
}

}  // namespace tessera
