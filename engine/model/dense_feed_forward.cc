#include "engine/model/dense_feed_forward.h"

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<DenseFeedForward>> DenseFeedForward::Load(const DecoderSpec& spec,
                                                                         const std::string& prefix,
                                                                         WeightLoader& loader) {
  std::unique_ptr<DenseFeedForward> dense(new DenseFeedForward(spec));
  const Bias bias = BiasIf(spec.ffn_bias);
  std::vector<std::string> up;
  for (const std::string& name : spec.names.ffn_up) up.push_back(prefix + name);
  ASSIGN_OR_RETURN(dense->up_,
                   loader.Linear(up, std::vector<int64_t>(up.size(), spec.ffn), spec.hidden, bias));
  ASSIGN_OR_RETURN(dense->down_,
                   loader.Linear({prefix + spec.names.ffn_down}, {spec.hidden}, spec.ffn, bias));
  return dense;
}

ResidualBranch DenseFeedForward::Forward(Backend& backend, Tensor normed, RoutingPass&) const {
  return Run(backend, normed);
}

Tensor DenseFeedForward::Run(Backend& backend, Tensor normed) const {
  if (!spec_.gated_ffn) {
    return backend.Linear(backend.Linear(normed, *up_, spec_.activation), *down_);
  }
  return backend.Linear(backend.GatedActivate(backend.Linear(normed, *up_), spec_.activation),
                        *down_);
}

}  // namespace tessera
