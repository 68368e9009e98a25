#include "engine/checkpoint/lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/json_file.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

struct Ending {
  std::string_view text;
  bool is_a;
};
constexpr Ending kEndings[] = {
    {".lora_A.weight", true},
    {".lora_B.weight", false},
    {".lora_A.default.weight", true},
    {".lora_B.default.weight", false},
};

constexpr int64_t kStrip = 512;  // columns of all rows of A that stay in the second-level cache

// One strip of one row: values[j] += scale · Σ_k b[k] · a[k, j].
void AddRow(const float* a, int64_t stride, const float* b, int64_t rank, float scale,
            float* values, int64_t count) {
  std::array<float, kStrip> strip = {};
  float* sum = strip.data();
  int64_t k = 0;
  for (; k + 4 <= rank; k += 4) {  // four at a time, so that sums are seldom loaded
    const float* row = a + k * stride;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      sum[j] += b[k] * row[j] + b[k + 1] * row[stride + j] + b[k + 2] * row[2 * stride + j] +
                b[k + 3] * row[3 * stride + j];
    }
  }
  for (; k < rank; ++k) {
    for (int64_t j = 0; j < count; ++j) sum[j] += b[k] * a[k * stride + j];
  }
  for (int64_t j = 0; j < count; ++j) values[j] += scale * sum[j];
}

}  // namespace

std::optional<LoraName> ParseLoraName(const std::string& name) {
  for (const Ending& ending : kEndings) {
    if (name.size() > ending.text.size() &&
        name.compare(name.size() - ending.text.size(), ending.text.size(), ending.text) == 0) {
      return LoraName{name.substr(0, name.size() - ending.text.size()), ending.is_a};
    }
  }
  return std::nullopt;
}

absl::StatusOr<double> ReadLoraScale(JsonFields& config) {
  if (config.StringOr("peft_type", "LORA") != "LORA") {
    config.Refuse("peft_type", "LORA is the only adapter served");
  }
  for (const char* key : {"use_dora", "fan_in_fan_out"}) {
    if (config.BoolOr(key, false)) config.Refuse(key, "is not served");
  }
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (config.Has(key) && !config.object()[key].empty()) {
      config.Refuse(key, "one rank and alpha for all modules is served");
    }
  }
  const auto rank = static_cast<double>(config.Int("r", 1, 1 << 20));
  const double alpha = config.NumberOr("lora_alpha", 8, -1e9, 1e9);
  const bool by_root = config.BoolOr("use_rslora", false);
  RETURN_IF_ERROR(config.status());
  return alpha / (by_root ? std::sqrt(rank) : rank);
}

void AddLowRank(const std::vector<float>& a, const std::vector<float>& b, int64_t rank,
                double scale, float* values, int64_t out, int64_t in) {
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t at = 0; at < in; at += kStrip) {
    for (int64_t row = 0; row < out; ++row) {
      AddRow(a.data() + at, in, b.data() + row * rank, rank, static_cast<float>(scale),
             values + row * in + at, std::min(kStrip, in - at));
    }
  }
}

}  // namespace tessera
