// The feed-forward network of a decoder layer: one of the kinds that feed_forward.cc chooses from,
// each with its loading and its forward pass in a file of its own. Tests:
// tests/engine/model/decoder_test.cc, decoder_lora_test.cc.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/model/trace.h"
#include "engine/model/weight_loader.h"

namespace tessera {

// What the routed layers of one pass share.
struct RoutingPass {
  Trace* trace = nullptr;
  std::vector<Tensor> noise =
      {};  // of RouterMode::kGumbel: float32 [T, experts] by layer; else empty
  std::vector<int32_t> capacity_groups =
      {};  // bounds of the rows that share capacity; empty where nothing is dropped
  std::vector<Tensor> expert_choices =
      {};  // result: of each routed layer int32 [T, k], in the step arena

  // To be called once by each routed layer, in the order of layers.
  void Note(const Routing& routing, Backend& backend);
};

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  // normed [T, hidden] → what is added to the rows of the residual stream.
  virtual ResidualBranch Forward(Backend& backend, Tensor normed, RoutingPass& pass) const = 0;
  // Among how many experts noise may choose; 0: it has no effect here.
  virtual int noisy_experts() const { return 0; }
};

// That of layer `index`, from its names in the checkpoint. `spec` must outlive it.
absl::StatusOr<std::unique_ptr<FeedForward>> LoadFeedForward(const DecoderSpec& spec, int index,
                                                             WeightLoader& loader);

// Its router: float32 [experts, hidden].
absl::StatusOr<std::unique_ptr<Buffer>> LoadRouter(const DecoderSpec& spec, int index,
                                                   WeightLoader& loader);

}  // namespace tessera
