// The first rows of a vision transformer: patches through the convolution (a matrix product, as its
// stride is its size), plus where each of them stands.
//
// Sources: CLIP's and SigLIP's vision models as in transformers 4.37; images of any shape as in
// transformers 4.57 (qwen3_vl, fast_pos_embed_interpolate).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/image/prepared_image.h"
#include "engine/model/model_spec.h"
#include "engine/model/weight_loader.h"

namespace tessera {

class PatchEmbedding {
 public:
  static absl::StatusOr<std::unique_ptr<PatchEmbedding>> Load(const VisionSpec& spec,
                                                              WeightLoader& loader);

  // [rows of all images, hidden], image by image, view by view.
  Tensor Embed(Backend& backend, std::span<const PreparedImage* const> images) const;

 private:
  explicit PatchEmbedding(const VisionSpec& spec) : spec_(spec) {}
  absl::Status LoadSquare(WeightLoader& loader);
  absl::Status LoadTable(std::vector<float> rows, int64_t count, WeightLoader& loader);
  Tensor EmbedViews(Backend& backend, Tensor patches, int64_t views) const;
  Tensor InterpolatePositions(Backend& backend, std::span<const PreparedImage* const> images) const;

  VisionSpec spec_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<PackedLinear> convolution_;
  Tensor table_;  // positions, [rows, hidden]; of squares with the class token's embedding added to
                  // row 0
  NormWeights norm_;
};

}  // namespace tessera
