// Counts what the routers of a step chose, in arrays of its own, so that the statistics' lock is
// held only to add the sums. Used by the engine thread alone. Tests:
// tests/engine/step/routing_counts_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/stats.h"

namespace tessera {

// kExpert while its series stay few, else kLayer.
RoutingTelemetry UsualRoutingTelemetry(int64_t layers, int64_t experts);

class RoutingCounts {
 public:
  // `layers` routed layers of at most `experts` experts.
  RoutingCounts(RoutingTelemetry detail, size_t layers, size_t experts);

  bool enabled() const { return detail_ != RoutingTelemetry::kOff; }
  // Choices int32 [T, k] of a layer's router in this step; `image_row` [T]. Once for each layer,
  // then AddTo(). REQUIRES: enabled().
  void Count(size_t layer, std::span<const int32_t> choices, const std::vector<bool>& image_row);
  // Adds the step's counts to statistics of the same detail.
  void AddTo(EngineStats& stats) const;

 private:
  std::span<uint32_t> OfLayer(size_t layer);

  RoutingTelemetry detail_;
  size_t experts_;
  // Of this step, laid out as in EngineStats; of experts only the layer under way unless the detail
  // is kExpert.
  std::vector<uint32_t> layer_tokens_;
  std::vector<uint32_t> busiest_tokens_;
  std::vector<uint32_t> expert_tokens_;
};

}  // namespace tessera
