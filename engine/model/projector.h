// From vision features to the language model's width: rows joined to tokens, a norm and linear
// layers with an activation between each two, as a ProjectorSpec says.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/model/weight_loader.h"

namespace tessera {

class Projector {
 public:
  // `window` rows of `width` become one of `output_width`.
  static absl::StatusOr<std::unique_ptr<Projector>> Load(const ProjectorSpec& spec, int window,
                                                         int64_t width, int64_t output_width,
                                                         WeightLoader& loader);

  // x [tokens · window, width] → [tokens, output width].
  Tensor Run(Backend& backend, Tensor x) const;

 private:
  Projector(const ProjectorSpec& spec, int window) : spec_(spec), window_(window) {}

  ProjectorSpec spec_;
  int window_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  NormWeights norm_;
  std::vector<std::unique_ptr<PackedLinear>> layers_;
};

}  // namespace tessera
