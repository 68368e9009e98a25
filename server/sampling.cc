#include "server/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "engine/status.h"

namespace tessera {
namespace {

constexpr int kMaxLogitBias = 1024;
constexpr float kMaxBias = 100;
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxStopIds = 64;
constexpr int32_t kMaxLogprobs = 20;

enum class Lower : uint8_t { kClosed, kOpen };

// NaN is in no range.
template <typename T>
absl::Status CheckRange(std::string_view field, T value, Lower lower, T low, T high) {
  const bool above = lower == Lower::kOpen ? value > low : value >= low;
  if (above && value <= high) return absl::OkStatus();
  return InvalidField(fmt::format("sampling.{}", field),
                      fmt::format("must be in {}{}, {}], not {}", lower == Lower::kOpen ? '(' : '[',
                                  low, high, value));
}

absl::Status CheckCount(std::string_view field, int count, int most) {
  if (count <= most) return absl::OkStatus();
  return InvalidField(fmt::format("sampling.{}", field),
                      fmt::format("has {} entries; at most {} are taken", count, most));
}

absl::Status CheckToken(const std::string& field, int32_t id, const ModelInfo& model) {
  if (id >= 0 && id < model.vocabulary) return absl::OkStatus();
  return InvalidField(field,
                      fmt::format("names token {}; ids are in [0, {})", id, model.vocabulary));
}

absl::Status CheckScalars(const SamplingParams& p) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  RETURN_IF_ERROR(CheckRange("temperature", p.temperature, Lower::kClosed, 0.f, 100.f));
  RETURN_IF_ERROR(CheckRange("top_k", p.top_k, Lower::kClosed, 0, kMost));
  RETURN_IF_ERROR(CheckRange("top_p", p.top_p, Lower::kOpen, 0.f, 1.f));
  RETURN_IF_ERROR(CheckRange("min_p", p.min_p, Lower::kClosed, 0.f, 1.f));
  RETURN_IF_ERROR(
      CheckRange("repetition_penalty", p.repetition_penalty.value_or(1), Lower::kOpen, 0.f, 100.f));
  RETURN_IF_ERROR(CheckRange("presence_penalty", p.presence_penalty, Lower::kClosed, -2.f, 2.f));
  return CheckRange("frequency_penalty", p.frequency_penalty, Lower::kClosed, -2.f, 2.f);
}

absl::Status CheckLengths(const v1::SamplingParams& message, const ModelInfo& model) {
  if (message.has_max_tokens()) {
    RETURN_IF_ERROR(
        CheckRange("max_tokens", message.max_tokens(), Lower::kClosed, 1, model.max_context));
  }
  if (message.has_logprobs()) {
    RETURN_IF_ERROR(CheckRange("logprobs", message.logprobs(), Lower::kClosed, 0, kMaxLogprobs));
  }
  const int32_t most = message.has_max_tokens() ? message.max_tokens() : model.max_context;
  return CheckRange("min_tokens", message.min_tokens(), Lower::kClosed, 0, most);
}

absl::Status CopyLogitBias(const v1::SamplingParams& message, const ModelInfo& model,
                           SamplingParams& result) {
  RETURN_IF_ERROR(CheckCount("logit_bias", message.logit_bias_size(), kMaxLogitBias));
  result.logit_bias.assign(message.logit_bias().begin(), message.logit_bias().end());
  std::ranges::sort(result.logit_bias);  // a map comes in any order
  for (const auto& [id, bias] : result.logit_bias) {
    const std::string field = fmt::format("logit_bias[{}]", id);
    RETURN_IF_ERROR(CheckToken("sampling." + field, id, model));
    RETURN_IF_ERROR(CheckRange(field, bias, Lower::kClosed, -kMaxBias, kMaxBias));
  }
  return absl::OkStatus();
}

absl::Status CopyStops(const v1::SamplingParams& message, const ModelInfo& model,
                       SamplingParams& result) {
  RETURN_IF_ERROR(CheckCount("stop", message.stop_size(), kMaxStops));
  for (int i = 0; i < message.stop_size(); ++i) {
    const size_t bytes = message.stop(i).size();
    if (bytes >= 1 && bytes <= kMaxStopBytes) continue;
    return InvalidField(fmt::format("sampling.stop[{}]", i),
                        fmt::format("has {} bytes; 1 to {} are taken", bytes, kMaxStopBytes));
  }
  RETURN_IF_ERROR(CheckCount("stop_token_ids", message.stop_token_ids_size(), kMaxStopIds));
  for (int i = 0; i < message.stop_token_ids_size(); ++i) {
    RETURN_IF_ERROR(CheckToken(fmt::format("sampling.stop_token_ids[{}]", i),
                               message.stop_token_ids(i), model));
  }
  result.stop.assign(message.stop().begin(), message.stop().end());
  result.stop_ids.assign(message.stop_token_ids().begin(), message.stop_token_ids().end());
  return absl::OkStatus();
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
  RETURN_IF_ERROR(CheckScalars(result));
  RETURN_IF_ERROR(CheckLengths(message, model));
  result.max_tokens = message.max_tokens();
  result.min_tokens = message.min_tokens();
  if (message.has_logprobs()) result.logprobs = message.logprobs();
  result.seed = message.has_seed() ? message.seed() : seed;
  result.ignore_eos = message.ignore_eos();
  RETURN_IF_ERROR(CopyLogitBias(message, model, result));
  RETURN_IF_ERROR(CopyStops(message, model, result));
  return result;
}

}  // namespace tessera
