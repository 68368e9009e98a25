// The vision transformer and the projector: patches of images → rows in the language model's
// space. Work on a batch of images advances in slices of layers and may pause between steps, so
// it never stalls those who are decoding.
//
// Sources: CLIP's and SigLIP's vision models as in transformers 4.37 (modeling_clip.py,
// modeling_siglip.py), hidden state `run_layers` without its leading rows. Several scales: S² (Shi
// et al. 2024, "When Do We Not Need Larger Vision Models?"). Images of any shape: Qwen3-VL as in
// transformers 4.57 (modeling_qwen3_vl_moe.py).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/image/prepared_image.h"
#include "engine/model/model_spec.h"
#include "engine/model/patch_embedding.h"
#include "engine/model/projector.h"
#include "engine/model/weight_loader.h"

namespace tessera {

// Images on their way through the encoder. A layer is done in two turns over the rows: queries,
// keys and values of all of them, then attention and FFN; each turn may pause at any row.
struct VisionBatch {
  int images = 0;
  // [spans + 1] of rows that see each other: a view's or an image's
  std::vector<int32_t> starts = {0};
  // [2, rows], row and column in the image's grid; empty where the encoder rotates nothing
  std::vector<int32_t> positions;
  int64_t max_span = 0;
  std::unique_ptr<Buffer> hidden;             // [rows, vision hidden]
  std::unique_ptr<Buffer> qkv;                // [rows, 3 · vision hidden], of the layer under way
  std::vector<std::unique_ptr<Buffer>> taps;  // projected, as far as reached

  int next_layer = 0;
  bool attending = false;  // in the second turn
  int64_t next_row = 0;

  int64_t rows() const { return starts.back(); }
};

class VisionEncoder {
 public:
  static absl::StatusOr<std::unique_ptr<VisionEncoder>> Load(const ModelSpec& model,
                                                             WeightLoader& loader);

  const VisionSpec& spec() const { return spec_; }
  int taps() const { return static_cast<int>(tap_projectors_.size()); }

  // Operations are queued on `backend`, the same for all of a batch.

  // Embeds the patches of images. RESOURCE_EXHAUSTED when memory is short.
  absl::StatusOr<VisionBatch> Begin(Backend& backend,
                                    std::span<const PreparedImage* const> images) const;
  // Runs layers as far as about `flops` floating-point operations go, at least one slice; tells how
  // many it were. RESOURCE_EXHAUSTED when memory is short.
  absl::StatusOr<double> Advance(Backend& backend, VisionBatch& batch, double flops) const;
  bool Done(const VisionBatch& batch) const { return batch.next_layer == spec_.run_layers; }
  // Projected rows [(1 + taps) · tokens, output width]: those of all images, then the same of
  // each tap. REQUIRES: Done(batch).
  absl::StatusOr<std::unique_ptr<Buffer>> Finish(Backend& backend, VisionBatch& batch) const;

  // Rows of hidden states of one image.
  int64_t Rows(const PreparedImage& image) const;

 private:
  struct Layer {
    NormWeights attention_norm;
    std::unique_ptr<PackedLinear> qkv;
    std::unique_ptr<PackedLinear> attention_out;
    NormWeights ffn_norm;
    std::unique_ptr<PackedLinear> ffn_up;
    std::unique_ptr<PackedLinear> ffn_down;
  };

  explicit VisionEncoder(const VisionSpec& spec) : spec_(spec) {}
  absl::Status LoadLayer(WeightLoader& loader, int index);
  absl::Status LoadRope(WeightStore& store);
  absl::Status LoadEdges(const ProjectorSpec& projector, int64_t output_width,
                         WeightLoader& loader);
  void IgnoreUnused(WeightLoader& loader) const;
  AttentionShape Attention() const;
  double RowFlops(const VisionBatch& batch) const;
  void ReadRows(Backend& backend, const Layer& layer, const VisionBatch& batch,
                int64_t count) const;
  void Attend(Backend& backend, const Layer& layer, const VisionBatch& batch, Tensor starts,
              int64_t count) const;
  absl::Status EndTurn(Backend& backend, VisionBatch& batch) const;
  absl::StatusOr<std::unique_ptr<Buffer>> Keep(Backend& backend, Tensor x) const;
  Tensor Features(Backend& backend, const VisionBatch& batch) const;
  Tensor Surround(Backend& backend, Tensor x, int images) const;

  VisionSpec spec_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<PatchEmbedding> embedding_;
  Rope rope_;
  std::vector<Layer> layers_;
  int pool_ = 1;
  Tensor edges_;  // [2, output width], the learned rows around an image's; empty for none
  std::unique_ptr<Projector> projector_;
  std::vector<std::unique_ptr<Projector>> tap_projectors_;
};

}  // namespace tessera
