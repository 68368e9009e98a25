#include "engine/model/projector.h"

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<Projector>> Projector::Load(const ProjectorSpec& spec, int window,
                                                           int64_t width, int64_t output_width,
                                                           WeightLoader& loader) {
  std::unique_ptr<Projector> projector(new Projector(spec, window));
  const int64_t joined = width * window;
  if (!spec.norm.empty()) {
    ASSIGN_OR_RETURN(projector->norm_,
                     loader.Norm(spec.norm, spec.norm_joined ? joined : width, NormKind::kLayerNorm,
                                 spec.norm_epsilon, Bias::kRequired, projector->buffers_));
  }
  int64_t in = joined;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const int64_t out = spec.wide && i + 1 < spec.layers.size() ? joined : output_width;
    ASSIGN_OR_RETURN(
        std::unique_ptr<PackedLinear> layer,
        loader.Linear({spec.layers[i]}, {out}, in, spec.bias ? Bias::kRequired : Bias::kNone));
    projector->layers_.push_back(std::move(layer));
    in = out;
  }
  return projector;
}

Tensor Projector::Run(Backend& backend, Tensor x) const {
  const bool norms = !spec_.norm.empty();
  if (norms && !spec_.norm_joined) x = backend.Norm(x, norm_);
  x = x.Reshape({x.rows() / window_, x.cols() * window_});
  if (norms && spec_.norm_joined) x = backend.Norm(x, norm_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    x = backend.Linear(x, *layers_[i], last ? Activation::kNone : spec_.activation);
  }
  return x;
}

}  // namespace tessera
