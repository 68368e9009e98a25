// A mixture of experts: each row passes the k experts that the router chose for it (Shazeer et al.
// 2017, arXiv 1701.06538).
#pragma once

#include <memory>

#include "engine/model/feed_forward.h"

namespace tessera {

class RoutedFeedForward final : public FeedForward {
 public:
  static absl::StatusOr<std::unique_ptr<RoutedFeedForward>> Load(const DecoderSpec& spec, int index,
                                                                 WeightLoader& loader);

  ResidualBranch Forward(Backend& backend, Tensor normed, RoutingPass& pass) const override;
  int noisy_experts() const override { return static_cast<int>(experts_->experts); }

 private:
  RoutedFeedForward(const DecoderSpec& spec, int index) : spec_(spec), index_(index) {}
  void Drop(Backend& backend, const RoutingPass& pass, Routing& routing) const;

  const DecoderSpec& spec_;
  int index_;
  std::unique_ptr<Buffer> router_;
  std::unique_ptr<PackedExperts> experts_;
};

}  // namespace tessera
