// A dense network whose matrices have routed low-rank experts beside them (LLaVA-MoLE: Chen et al.
// 2024, arXiv 2401.16160).
#pragma once

#include <memory>

#include "engine/model/feed_forward.h"

namespace tessera {

class LowRankFeedForward final : public FeedForward {
 public:
  static absl::StatusOr<std::unique_ptr<LowRankFeedForward>> Load(const DecoderSpec& spec,
                                                                  int index, WeightLoader& loader);

  // Without noise: it would choose the experts after the first, and here one is chosen, or all are.
  ResidualBranch Forward(Backend& backend, Tensor normed, RoutingPass& pass) const override;

 private:
  explicit LowRankFeedForward(const DecoderSpec& spec) : spec_(spec) {}

  const DecoderSpec& spec_;
  std::unique_ptr<Buffer> router_;
  std::unique_ptr<Buffer> router_bias_;  // float32 [experts]; null for routers without one
  std::unique_ptr<PackedLora> up_;       // gate, then up
  std::unique_ptr<PackedLora> down_;
};

}  // namespace tessera
