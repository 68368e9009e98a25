#include "engine/model/expert_capacity.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera {
namespace {

// Probabilities of a row's kept choices over their sum, none where nothing is kept.
void Renormalize(std::span<const float> logits, std::span<const int32_t> chosen,
                 const std::vector<bool>& kept, std::span<float> weights) {
  const float most = *std::max_element(logits.begin(), logits.end());
  float total = 0;
  for (const float logit : logits) total += std::exp(logit - most);
  float sum = 0;
  for (size_t j = 0; j < chosen.size(); ++j) {
    const float exponential = std::exp(logits[static_cast<size_t>(chosen[j])] - most);
    weights[j] = kept[j] ? exponential / total : 0.0f;
    sum += weights[j];
  }
  sum = std::max(sum, std::numeric_limits<float>::epsilon());
  for (float& weight : weights) weight /= sum;
}

// kept[row · k + j]: whether the row's choice j finds a place.
std::vector<bool> KeptChoices(std::span<const int32_t> chosen, size_t choices, int64_t experts,
                              int64_t places) {
  std::vector<int64_t> taken(static_cast<size_t>(experts), 0);
  std::vector<bool> kept(chosen.size());
  for (size_t j = 0; j < choices; ++j) {
    for (size_t i = j; i < chosen.size(); i += choices) {
      kept[i] = taken[static_cast<size_t>(chosen[i])]++ < places;  // those dropped count, too
    }
  }
  return kept;
}

}  // namespace

int64_t CapacityOf(const ExpertCapacity& capacity, int64_t tokens, int64_t experts, int choices) {
  // In float32, as the reference computes it.
  const float share =
      static_cast<float>(static_cast<double>(tokens) / static_cast<double>(experts));
  const float places = std::ceil(share * static_cast<float>(capacity.factor * choices));
  return std::max<int64_t>(static_cast<int64_t>(std::min(places, 1e9f)), capacity.minimum);
}

void DropBeyondCapacity(const ExpertCapacity& capacity, const RoutedRows& rows,
                        std::span<const int32_t> groups, std::span<float> weights) {
  const size_t choices = static_cast<size_t>(rows.router.experts_per_token);
  const size_t experts = static_cast<size_t>(rows.experts);
  for (size_t g = 0; g + 1 < groups.size(); ++g) {
    const size_t begin = static_cast<size_t>(groups[g]);
    const size_t count = static_cast<size_t>(groups[g + 1] - groups[g]);
    const int64_t places = CapacityOf(capacity, static_cast<int64_t>(count), rows.experts,
                                      rows.router.experts_per_token);
    const std::vector<bool> kept = KeptChoices(
        rows.chosen.subspan(begin * choices, count * choices), choices, rows.experts, places);
    for (size_t row = 0; row < count; ++row) {
      const std::vector<bool> mine(kept.begin() + static_cast<std::ptrdiff_t>(row * choices),
                                   kept.begin() + static_cast<std::ptrdiff_t>((row + 1) * choices));
      if (std::find(mine.begin(), mine.end(), false) == mine.end()) continue;
      const size_t at = begin + row;
      const std::span<float> own = weights.subspan(at * choices, choices);
      if (rows.router.renormalize) {
        Renormalize(rows.logits.subspan(at * experts, experts),
                    rows.chosen.subspan(at * choices, choices), mine, own);
      } else {
        for (size_t j = 0; j < choices; ++j) own[j] = mine[j] ? own[j] : 0.0f;
      }
    }
  }
}

}  // namespace tessera
