#include "engine/model/residual_feed_forward.h"

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<ResidualFeedForward>> ResidualFeedForward::Load(
    const DecoderSpec& spec, int index, WeightLoader& loader) {
  const std::string prefix = ExpandName(spec.names.layer, index);
  const std::string mix = prefix + spec.names.residual_mix;
  std::unique_ptr<ResidualFeedForward> residual(new ResidualFeedForward());
  ASSIGN_OR_RETURN(residual->routed_, RoutedFeedForward::Load(spec, index, loader));
  ASSIGN_OR_RETURN(residual->dense_,
                   DenseFeedForward::Load(spec, prefix + spec.names.residual_mlp, loader));
  ASSIGN_OR_RETURN(residual->mix_,
                   loader.Tensor(mix + ".weight", {2, spec.hidden}, DType::kFloat32));
  ASSIGN_OR_RETURN(residual->mix_bias_, loader.Tensor(mix + ".bias", {2}, DType::kFloat32));
  return residual;
}

// Both are combined as two experts that every row is routed to: sorted by expert, their rows are
// those of the routed experts, then those of the dense network.
ResidualBranch ResidualFeedForward::Forward(Backend& backend, Tensor normed,
                                            RoutingPass& pass) const {
  const ResidualBranch routed = routed_->Forward(backend, normed, pass);
  const Tensor routed_rows =
      backend.WeightedSum(routed.rows, routed.routing.places, routed.routing.weights);
  const Tensor dense_rows = dense_->Run(backend, normed);
  const RouterConfig both = {.experts_per_token = 2, .renormalize = false};
  const Routing mix = backend.Route(normed, mix_->tensor(), mix_bias_->tensor(), both, Tensor());
  const int64_t rows = normed.rows();
  const Tensor stacked = backend.New(normed.dtype, {2 * rows, normed.cols()});
  backend.Copy(routed_rows, stacked.Rows(0, rows));
  backend.Copy(dense_rows, stacked.Rows(rows, rows));
  return {stacked, mix};
}

}  // namespace tessera
