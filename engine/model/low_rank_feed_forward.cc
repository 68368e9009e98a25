#include "engine/model/low_rank_feed_forward.h"

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<LowRankFeedForward>> LowRankFeedForward::Load(
    const DecoderSpec& spec, int index, WeightLoader& loader) {
  std::unique_ptr<LowRankFeedForward> network(new LowRankFeedForward(spec));
  const DecoderNames& names = spec.names;
  const std::string prefix = ExpandName(names.layer, index);
  const int experts = spec.experts[static_cast<size_t>(index)];
  ASSIGN_OR_RETURN(network->router_, LoadRouter(spec, index, loader));
  if (spec.router_bias) {
    ASSIGN_OR_RETURN(network->router_bias_,
                     loader.Tensor(prefix + names.router + ".bias", {experts}, DType::kFloat32));
  }
  std::vector<std::string> up_names;
  for (const std::string& name : names.ffn_up) up_names.push_back(prefix + names.mlp + name);
  std::vector<std::vector<std::string>> up, down;
  for (int e = 0; e < experts; ++e) {
    std::vector<std::string>& prefixes = up.emplace_back();
    for (const std::string& name : names.lora_up) {
      prefixes.push_back(prefix + ExpandName(name, index, e));
    }
    down.push_back({prefix + ExpandName(names.lora_down, index, e)});
  }
  const Bias bias = BiasIf(spec.ffn_bias);
  ASSIGN_OR_RETURN(network->up_,
                   loader.Lora(up_names, std::vector<int64_t>(up_names.size(), spec.ffn),
                               spec.hidden, bias, up, *spec.lora));
  ASSIGN_OR_RETURN(network->down_, loader.Lora({prefix + names.mlp + names.ffn_down}, {spec.hidden},
                                               spec.ffn, bias, down, *spec.lora));
  return network;
}

ResidualBranch LowRankFeedForward::Forward(Backend& backend, Tensor normed,
                                           RoutingPass& pass) const {
  const Tensor bias = router_bias_ == nullptr ? Tensor() : router_bias_->tensor();
  const Routing routing = backend.Route(normed, router_->tensor(), bias, spec_.router, Tensor());
  pass.Note(routing, backend);
  const Tensor up = backend.LoraLinear(normed, *up_, routing);
  return backend.LoraLinear(backend.GatedActivate(up, spec_.activation), *down_, routing);
}

}  // namespace tessera
