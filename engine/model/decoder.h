// The language model: token and image rows through attention and dense or routed feed-forward
// layers over a paged KV cache, to logits. Written only in Backend operations.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/batch.h"
#include "engine/model/feed_forward.h"
#include "engine/model/kv_cache.h"
#include "engine/model/model_spec.h"
#include "engine/model/router_mode.h"
#include "engine/model/trace.h"
#include "engine/model/weight_loader.h"

namespace tessera {

struct DecoderOutput {
  Tensor logits;                       // float32 [logit rows, vocabulary rows], in the step arena
  std::vector<Tensor> expert_choices;  // per routed layer int32 [T, k], in the step arena
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

  // On the device that the weights were loaded to.
  DecoderOutput Forward(Backend& backend, const Batch& batch, const KvCache& cache,
                        Trace* trace) const;
  // Called by Forward() after each layer, so that whoever watches sees a long pass move. Once,
  // before Forward().
  void set_heartbeat(std::function<void()> heartbeat) { heartbeat_ = std::move(heartbeat); }

 private:
  struct Layer {
    NormWeights attention_norm;
    std::unique_ptr<PackedLinear> qkv;
    HeadNorms head_norms;
    std::unique_ptr<PackedLinear> attention_out;
    NormWeights ffn_norm;  // sequential layout only
    std::unique_ptr<FeedForward> feed_forward;
  };
  struct Pass;  // what the layers of one pass share

  Decoder(const DecoderSpec& spec, RouterMode router_mode)
      : spec_(spec), router_mode_(router_mode) {}
  absl::Status LoadLayer(WeightLoader& loader, int index);
  absl::Status LoadHeadNorm(WeightLoader& loader, const std::string& prefix,
                            const std::string& name, NormWeights& norm);
  absl::Status LoadRope(int max_positions, WeightStore& store);
  std::vector<Tensor> UploadNoise(Backend& backend, const Batch& batch) const;
  Pass BeginPass(Backend& backend, const Batch& batch, const KvCache& cache, Trace* trace) const;
  bool Repeats(const Pass& pass) const;
  void Run(Pass& pass) const;
  Tensor EmbedRows(const Pass& pass) const;
  Tensor Attention(const Layer& layer, int index, Tensor normed, const Pass& pass) const;
  const NormWeights& NormBefore(int index) const;

  DecoderSpec spec_;
  RouterMode router_mode_;
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
