#include "engine/model/feed_forward.h"

#include "engine/model/dense_feed_forward.h"
#include "engine/model/low_rank_feed_forward.h"
#include "engine/model/residual_feed_forward.h"
#include "engine/model/routed_feed_forward.h"

namespace tessera {

void RoutingPass::Note(const Routing& routing, Backend& backend) {
  expert_choices.push_back(routing.experts);
  if (trace != nullptr) trace->router_logits.push_back(backend.DownloadFloats(routing.logits));
}

absl::StatusOr<std::unique_ptr<FeedForward>> LoadFeedForward(const DecoderSpec& spec, int index,
                                                             WeightLoader& loader) {
  const std::string prefix = ExpandName(spec.names.layer, index);
  if (spec.experts[static_cast<size_t>(index)] == 0) {
    return DenseFeedForward::Load(spec, prefix + spec.names.mlp, loader);
  }
  if (spec.lora) return LowRankFeedForward::Load(spec, index, loader);
  if (spec.residual_experts) return ResidualFeedForward::Load(spec, index, loader);
  return RoutedFeedForward::Load(spec, index, loader);
}

absl::StatusOr<std::unique_ptr<Buffer>> LoadRouter(const DecoderSpec& spec, int index,
                                                   WeightLoader& loader) {
  const int experts = spec.experts[static_cast<size_t>(index)];
  return loader.Tensor(ExpandName(spec.names.layer, index) + spec.names.router + ".weight",
                       {experts, spec.hidden}, DType::kFloat32);
}

}  // namespace tessera
