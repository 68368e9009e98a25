// The language model: token and image rows through attention and dense or routed feed-forward layers over a paged KV cache, to
// logits. Written only in Backend operations.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/batch.h"
#include "engine/model/kv_cache.h"
#include "engine/model/model_spec.h"
#include "engine/model/router_mode.h"
#include "engine/model/trace.h"
#include "engine/model/weight_loader.h"

namespace tessera {

struct DecoderOutput {
  Tensor logits;                        // float32 [logit rows, vocabulary rows], in the step arena
  std::vector<Tensor> expert_choices;   // per routed layer int32 [T, k], in the step arena
};

class Decoder {
 public:
  // `max_positions` bounds the rotary table.
  static absl::StatusOr<std::unique_ptr<Decoder>> Load(const DecoderSpec& spec, int max_positions,
                                                       RouterMode router_mode,
                                                       WeightLoader& loader);

  const DecoderSpec& spec() const { return spec_; }
  // Rows of the head: logits per row.
  int64_t vocabulary_rows() const { return head_->out; }

  DecoderOutput Forward(const Batch& batch, const KvCache& cache, Trace* trace);
  // Called by Forward() after each layer, so that whoever watches sees a long pass move. Once, before Forward().
  void set_heartbeat(std::function<void()> heartbeat) { heartbeat_ = std::move(heartbeat); }

 private:
  struct Layer {
    NormWeights attention_norm;
    std::unique_ptr<PackedLinear> qkv;
    HeadNorms head_norms;
    std::unique_ptr<PackedLinear> attention_out;
    NormWeights ffn_norm;                       // sequential layout only
    std::unique_ptr<PackedLinear> ffn_up;       // dense layers, and beside residual experts
    std::unique_ptr<PackedLinear> ffn_down;
    std::unique_ptr<Buffer> router;             // routed layers only: float32 [experts, hidden]
    std::unique_ptr<Buffer> router_bias;        // float32 [experts], or null
    std::unique_ptr<PackedExperts> experts;
    std::unique_ptr<PackedLora> lora_up;        // low-rank experts, instead of the dense and routed matrices
    std::unique_ptr<PackedLora> lora_down;
    std::unique_ptr<Buffer> mix;                // residual experts only: float32 [2, hidden]
    std::unique_ptr<Buffer> mix_bias;           // float32 [2]
  };
  struct Pass;  // what the layers of one pass share

  Decoder(const DecoderSpec& spec, RouterMode router_mode, Backend& backend)
      : spec_(spec), router_mode_(router_mode), backend_(backend) {}
  absl::Status LoadLayer(WeightLoader& loader, int index);
  absl::Status LoadFfn(WeightLoader& loader, int index, Layer& layer);
  absl::Status LoadDenseFfn(WeightLoader& loader, const std::string& prefix, Layer& layer);
  absl::Status LoadExperts(WeightLoader& loader, int index, Layer& layer);
  absl::Status LoadLoraFfn(WeightLoader& loader, int index, Layer& layer);
  absl::Status LoadHeadNorm(WeightLoader& loader, const std::string& prefix,
                            const std::string& name, NormWeights& norm);
  absl::Status LoadRope(int max_positions, Backend& backend);
  Tensor EmbedRows(const Pass& pass);
  Tensor ImageFeatures(const ImageRows& image, int level);
  bool AddTap(Tensor x, int index, const Batch& batch);
  std::vector<Tensor> UploadNoise(const Batch& batch);
  Pass BeginPass(const Batch& batch, const KvCache& cache, Trace* trace);
  bool Repeats(const Pass& pass) const;
  void Run(Pass& pass);
  Tensor Attention(const Layer& layer, int index, Tensor normed, const Pass& pass);
  Delta Ffn(const Layer& layer, int index, Tensor normed, Pass& pass);
  Tensor DenseFfn(const Layer& layer, Tensor normed);
  Delta RoutedFfn(const Layer& layer, int index, Tensor normed, Pass& pass);
  Tensor LoraFfn(const Layer& layer, Tensor normed, Pass& pass);
  void NoteRouting(const Routing& routing, Pass& pass);
  Delta MixResidual(const Layer& layer, Tensor normed, Tensor routed, Tensor dense);
  void Drop(Routing& routing, const Pass& pass);
  const NormWeights& NormBefore(int index) const;

  DecoderSpec spec_;
  RouterMode router_mode_;
  Backend& backend_;
  AttentionShape attention_;
  Rope rope_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<Buffer> embedding_;
  std::vector<Layer> layers_;
  NormWeights final_norm_;
  std::unique_ptr<PackedLinear> head_;
  std::function<void()> heartbeat_;
};

}  // namespace tessera
