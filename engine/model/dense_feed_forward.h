// Two or three matrices that every row passes: down(act(up(x))), or down(act(gate(x)) ⊙ up(x)).
#pragma once

#include <memory>
#include <string>

#include "engine/model/feed_forward.h"

namespace tessera {

class DenseFeedForward final : public FeedForward {
 public:
  // `prefix`: of the matrices' names.
  static absl::StatusOr<std::unique_ptr<DenseFeedForward>> Load(const DecoderSpec& spec,
                                                                const std::string& prefix,
                                                                WeightLoader& loader);

  ResidualBranch Forward(Backend& backend, Tensor normed, RoutingPass& pass) const override;
  // [T, hidden] → [T, hidden].
  Tensor Run(Backend& backend, Tensor normed) const;

 private:
  explicit DenseFeedForward(const DecoderSpec& spec) : spec_(spec) {}

  const DecoderSpec& spec_;
  std::unique_ptr<PackedLinear> up_;  // [ffn, hidden], or gate, then up
  std::unique_ptr<PackedLinear> down_;
};

}  // namespace tessera
