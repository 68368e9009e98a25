#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "engine/check.h"
#include "engine/random.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopIds = 64;
constexpr size_t kMaxBiases = 1024;
constexpr int32_t kMaxLogprobs = 20;
constexpr float kBarred = -std::numeric_limits<float>::infinity();

struct Range {
  const char* field;
  double value;
  double low;
  double high;
  bool open_low;  // the low end itself is not allowed
};

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
  const double best = logits[static_cast<size_t>(Best(logits))];
  std::vector<std::pair<int32_t, double>> candidates;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double weight = std::exp((logits[id] - best) / params.temperature);
    if (weight > 0) candidates.emplace_back(static_cast<int32_t>(id), weight);
  }
  const bool filtered = params.top_k > 0 || params.top_p < 1 || params.min_p > 0;
  if (!filtered) return candidates;
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates.size()) {
    candidates.resize(static_cast<size_t>(params.top_k));
  }
  double total = 0;
  for (const auto& [id, weight] : candidates) total += weight;
  double reached = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || (reached < params.top_p * total &&
                                                    candidates[kept].second >= params.min_p))) {
    reached += candidates[kept++].second;
  }
  candidates.resize(kept);
  return candidates;
}

}  // namespace

absl::Status CheckSampling(const SamplingParams& params, int32_t vocabulary) {
  const Range ranges[] = {
      {"temperature", params.temperature, 0, 100, false},
      {"top_k", static_cast<double>(params.top_k), 0, 1e9, false},
      {"top_p", params.top_p, 0, 1, true},
      {"min_p", params.min_p, 0, 1, false},
      {"repetition_penalty", params.repetition_penalty.value_or(1), 0, 100, true},
      {"presence_penalty", params.presence_penalty, -2, 2, false},
      {"frequency_penalty", params.frequency_penalty, -2, 2, false},
      {"max_tokens", static_cast<double>(params.max_tokens), 0, 1e9, false},
      {"min_tokens", static_cast<double>(params.min_tokens), 0,
       params.max_tokens > 0 ? params.max_tokens : 1e9, false},
      {"logprobs", static_cast<double>(params.logprobs), -1, kMaxLogprobs, false},
  };
  for (const Range& range : ranges) {
    const bool fits = range.value >= range.low && range.value <= range.high &&
                      !(range.open_low && range.value == range.low);
    if (!fits) {  // NaN does not fit either
      return InvalidField(fmt::format("sampling.{}", range.field),
                          fmt::format("{:.7g} is outside {}{}, {}]", range.value,
                                      range.open_low ? "(" : "[", range.low, range.high));
    }
  }
  if (params.logit_bias.size() > kMaxBiases) {
    return InvalidField("sampling.logit_bias", fmt::format("more than {} entries", kMaxBiases));
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || id >= vocabulary || !(bias >= -100 && bias <= 100)) {
      return InvalidField(fmt::format("sampling.logit_bias[{}]", id),
                          fmt::format("id must be below {}, bias {} in [-100, 100]", vocabulary, bias));
    }
  }
  if (params.stop.size() > kMaxStops) {
    return InvalidField("sampling.stop", fmt::format("more than {} strings", kMaxStops));
  }
  for (size_t i = 0; i < params.stop.size(); ++i) {
    if (params.stop[i].empty() || params.stop[i].size() > kMaxStopBytes) {
      return InvalidField(fmt::format("sampling.stop[{}]", i),
                          fmt::format("must have 1 to {} bytes", kMaxStopBytes));
    }
  }
  if (params.stop_ids.size() > kMaxStopIds) {
    return InvalidField("sampling.stop_token_ids", fmt::format("more than {} ids", kMaxStopIds));
  }
  for (size_t i = 0; i < params.stop_ids.size(); ++i) {
    if (params.stop_ids[i] < 0 || params.stop_ids[i] >= vocabulary) {
      return InvalidField(fmt::format("sampling.stop_token_ids[{}]", i),
                          fmt::format("id {} is not in the vocabulary of {}", params.stop_ids[i],
                                      vocabulary));
    }
  }
  return absl::OkStatus();
}

SampledToken SampleToken(const SamplerInput& input, const SamplingParams& params) {
  TESSERA_CHECK(!input.logits.empty());
  SampledToken token;
  const std::vector<float> logits = Adjusted(input, params);
  if (params.temperature == 0) {
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
