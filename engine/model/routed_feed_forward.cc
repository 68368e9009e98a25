#include "engine/model/routed_feed_forward.h"

#include "engine/base/status.h"
#include "engine/model/expert_capacity.h"

namespace tessera {
namespace {

// Experts lie in tensors of their own, or fused in two tensors of a layer.
absl::StatusOr<std::unique_ptr<PackedExperts>> LoadExperts(const DecoderSpec& spec, int index,
                                                           WeightLoader& loader) {
  const DecoderNames& names = spec.names;
  const std::string prefix = ExpandName(names.layer, index);
  const int experts = spec.experts[static_cast<size_t>(index)];
  const int64_t ffn = spec.ffn_of_experts();
  std::vector<std::string> prefixes;
  for (int e = 0; e < experts; ++e) prefixes.push_back(prefix + ExpandName(names.expert, index, e));
  const auto has = [&](const std::string& name) {
    return loader.checkpoint().Contains(prefixes[0] + name + ".weight");
  };
  const bool apart = has(names.ffn_up[0]) || has(names.ffn_down);
  if (!names.fused_up.empty() && !apart) {
    return loader.FusedExperts(prefix + names.fused_up, prefix + names.fused_down, experts,
                               spec.hidden, ffn, spec.activation);
  }
  return loader.Experts(prefixes, names.ffn_up, names.ffn_down, spec.hidden, ffn,
                        BiasIf(spec.ffn_bias), spec.activation);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RoutedFeedForward>> RoutedFeedForward::Load(const DecoderSpec& spec,
                                                                           int index,
                                                                           WeightLoader& loader) {
  std::unique_ptr<RoutedFeedForward> routed(new RoutedFeedForward(spec, index));
  ASSIGN_OR_RETURN(routed->router_, LoadRouter(spec, index, loader));
  ASSIGN_OR_RETURN(routed->experts_, LoadExperts(spec, index, loader));
  return routed;
}

// Sets to 0 the weights of what exceeds the experts' capacity.
void RoutedFeedForward::Drop(Backend& backend, const RoutingPass& pass, Routing& routing) const {
  const std::vector<float> logits = backend.DownloadFloats(routing.logits);
  const std::vector<int32_t> chosen = backend.DownloadInts(routing.experts);
  std::vector<float> weights = backend.DownloadFloats(routing.weights);
  DropBeyondCapacity(*spec_.capacity, {logits, chosen, routing.logits.cols(), spec_.router},
                     pass.capacity_groups, weights);
  routing.weights = backend.Upload(weights, {routing.weights.rows(), routing.weights.cols()});
}

ResidualBranch RoutedFeedForward::Forward(Backend& backend, Tensor normed,
                                          RoutingPass& pass) const {
  const Tensor noise = pass.noise.empty() ? Tensor() : pass.noise[static_cast<size_t>(index_)];
  Routing routing = backend.Route(normed, router_->tensor(), Tensor(), spec_.router, noise);
  if (spec_.capacity) Drop(backend, pass, routing);
  pass.Note(routing, backend);
  return {backend.ExpertFfn(normed, *experts_, routing), routing};
}

}  // namespace tessera
