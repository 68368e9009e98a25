// Residual experts: a dense network beside routed ones, mixed by two learned weights of each row
// (DeepSpeed-MoE: Rajbhandari et al. 2022, arXiv 2201.05596, section 4.1.2).
#pragma once

#include <memory>

#include "engine/model/dense_feed_forward.h"
#include "engine/model/routed_feed_forward.h"

namespace tessera {

class ResidualFeedForward final : public FeedForward {
 public:
  static absl::StatusOr<std::unique_ptr<ResidualFeedForward>> Load(const DecoderSpec& spec,
                                                                   int index, WeightLoader& loader);

  ResidualBranch Forward(Backend& backend, Tensor normed, RoutingPass& pass) const override;
  int noisy_experts() const override { return routed_->noisy_experts(); }

 private:
  ResidualFeedForward() = default;

  std::unique_ptr<RoutedFeedForward> routed_;
  std::unique_ptr<DenseFeedForward> dense_;
  std::unique_ptr<Buffer> mix_;       // float32 [2, hidden]
  std::unique_ptr<Buffer> mix_bias_;  // float32 [2]
};

}  // namespace tessera
