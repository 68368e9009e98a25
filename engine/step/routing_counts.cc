#include "engine/step/routing_counts.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr int64_t kUsualExperts = 512;  // in all layers; two series each

void Add(const std::vector<uint32_t>& step, std::vector<uint64_t>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += step[i];
}

}  // namespace

RoutingTelemetry UsualRoutingTelemetry(int64_t layers, int64_t experts) {
  return layers * experts <= kUsualExperts ? RoutingTelemetry::kExpert : RoutingTelemetry::kLayer;
}

RoutingCounts::RoutingCounts(RoutingTelemetry detail, size_t layers, size_t experts)
    : detail_(detail), experts_(experts) {
  if (!enabled()) return;
  layer_tokens_.resize(layers * kModalities);
  busiest_tokens_.resize(layers);
  expert_tokens_.resize((detail == RoutingTelemetry::kExpert ? layers : 1) * experts * kModalities);
}

std::span<uint32_t> RoutingCounts::OfLayer(size_t layer) {
  const size_t size = experts_ * kModalities;
  const size_t begin = detail_ == RoutingTelemetry::kExpert ? layer * size : 0;
  return std::span(expert_tokens_).subspan(begin, size);
}

void RoutingCounts::Count(size_t layer, std::span<const int32_t> choices,
                          const std::vector<bool>& image_row) {
  const std::span<uint32_t> tokens = OfLayer(layer);
  std::fill(tokens.begin(), tokens.end(), 0);
  const size_t per_row = image_row.empty() ? 0 : choices.size() / image_row.size();
  const int32_t* choice = choices.data();
  for (const bool image : image_row) {
    for (size_t i = 0; i < per_row; ++i) {
      ++tokens[static_cast<size_t>(*choice++) * kModalities + (image ? 1 : 0)];
    }
  }
  uint32_t text = 0;
  uint32_t image = 0;
  uint32_t busiest = 0;
  for (size_t at = 0; at < tokens.size(); at += kModalities) {
    text += tokens[at];
    image += tokens[at + 1];
    busiest = std::max(busiest, tokens[at] + tokens[at + 1]);
  }
  layer_tokens_[layer * kModalities] = text;
  layer_tokens_[layer * kModalities + 1] = image;
  busiest_tokens_[layer] = busiest;
}

void RoutingCounts::AddTo(EngineStats& stats) const {
  Add(layer_tokens_, stats.layer_tokens);
  Add(busiest_tokens_, stats.busiest_tokens);
  Add(expert_tokens_, stats.expert_tokens);
}

}  // namespace tessera
