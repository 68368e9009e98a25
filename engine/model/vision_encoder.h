// The vision transformer and the projector: patches of pictures → rows in the language model's space. Work on a batch of pictures
// advances by whole layers and may pause between steps, so it never stalls those who are decoding.
//
// Source: CLIP's and SigLIP's vision models as in transformers 4.37 (modeling_clip.py, modeling_siglip.py), hidden state `run_layers`
// without its leading rows. Several scales: S² (Shi et al. 2024, "When Do We Not Need Larger Vision Models?").
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_spec.h"
#include "engine/model/weight_loader.h"

namespace tessera {

// Pictures on their way through the encoder.
struct VisionBatch {
  int pictures = 0;
  int next_layer = 0;
  std::unique_ptr<Buffer> hidden;  // [pictures · views · rows, vision hidden]
};

class VisionEncoder {
 public:
  static absl::StatusOr<std::unique_ptr<VisionEncoder>> Load(const VisionSpec& spec,
                                                             const ProjectorSpec& projector,
                                                             int64_t output_width,
                                                             WeightLoader& loader);

  const VisionSpec& spec() const { return spec_; }
  int layers() const { return spec_.run_layers; }

  // Embeds the patches of pictures, each [views · patches, 3 · patch_size²]. RESOURCE_EXHAUSTED when memory is short.
  absl::StatusOr<VisionBatch> Begin(std::span<const std::vector<float>* const> patches);
  // Runs at most `layers` further layers. The batch is ready for Finish() when next_layer reaches layers().
  void Advance(VisionBatch& batch, int layers);
  // Projected rows [pictures · image rows, output width].
  absl::StatusOr<std::unique_ptr<Buffer>> Finish(VisionBatch& batch);

  // Multiplications and additions of one picture through one layer, times two.
  double LayerFlops() const;

 private:
  struct Layer {
    NormWeights attention_norm;
    std::unique_ptr<PackedLinear> qkv;
    std::unique_ptr<PackedLinear> attention_out;
    NormWeights ffn_norm;
    std::unique_ptr<PackedLinear> ffn_up;
    std::unique_ptr<PackedLinear> ffn_down;
  };

  VisionEncoder(const VisionSpec& spec, Backend& backend) : spec_(spec), backend_(backend) {}
  absl::Status LoadEmbedding(WeightLoader& loader);
  absl::Status LoadLayer(WeightLoader& loader, int index);
  absl::Status LoadProjector(const ProjectorSpec& projector, int64_t output_width,
                             WeightLoader& loader);
  void IgnoreUnused(WeightLoader& loader) const;
  void RunLayer(const Layer& layer, Tensor x, Tensor starts);
  Tensor Features(const VisionBatch& batch);
  Tensor Surround(Tensor x, int pictures);

  VisionSpec spec_;
  Backend& backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<PackedLinear> patch_embedding_;
  Tensor row_embedding_;  // [rows, hidden]: positions, the class token's embedding added to row 0
  NormWeights embedding_norm_;
  std::vector<Layer> layers_;
  int pool_ = 1;
  Tensor edges_;  // [2, output width], the learned rows around a picture's; empty for none
  std::vector<std::unique_ptr<PackedLinear>> projector_;
  Activation projector_activation_ = Activation::kNone;
};

}  // namespace tessera
