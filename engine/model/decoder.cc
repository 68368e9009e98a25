#include "engine/model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/check.h"
#include "engine/model/expert_capacity.h"
#include "engine/model/router_noise.h"

namespace tessera {
namespace {

// The rows that share their experts' capacity: those of a prompt; every row of an answer alone.
std::vector<int32_t> CapacityGroups(const Batch& batch) {
  std::vector<int32_t> groups = {0};
  for (size_t s = 0; s < batch.prompt_rows.size(); ++s) {
    int32_t row = batch.query_starts[s] + batch.prompt_rows[s];
    if (batch.prompt_rows[s] > 0) groups.push_back(row);
    while (row < batch.query_starts[s + 1]) groups.push_back(++row);
  }
  return groups;
}

// What the embedding of each row's token is multiplied with.
std::vector<float> EmbeddingScales(const DecoderSpec& spec, const Batch& batch) {
  std::vector<float> scales(batch.ids.size(), spec.embedding_scale);
  for (size_t s = 0; s < batch.prompt_rows.size(); ++s) {
    if (spec.scale_pictured_prompts || !batch.pictured[s]) continue;
    std::fill_n(scales.begin() + batch.query_starts[s], batch.prompt_rows[s], 1.0f);
  }
  return scales;
}

}  // namespace

struct Decoder::Pass {
  const Batch& batch;
  const KvCache& cache;
  Trace* trace;
  PagedBatch paged = {};
  Tensor ids = {};               // int32 [T]
  Tensor embedding_scales = {};  // float32 [T], empty where all are 1
  Tensor logit_rows = {};        // int32 [rows whose logits are wanted]
  Tensor head_scales = {};       // float32 of the same size, empty where all are 1
  DecoderOutput output = {};
  std::vector<Tensor> noise = {};  // of RouterMode::kGumbel: float32 [T, experts] of each routed layer, by its index
  std::vector<int32_t> capacity_groups = {};  // bounds of the rows that share capacity; empty where nothing is dropped
};

// The norm that the rows pass before layer `index`, the final one after the last.
const NormWeights& Decoder::NormBefore(int index) const {
  return index < spec_.layers ? layers_[static_cast<size_t>(index)].attention_norm : final_norm_;
}

Tensor Decoder::EmbedRows(const Pass& pass) {
  Tensor x = backend_.Embed(embedding_->tensor(), pass.ids, pass.batch.drawn);
  if (!pass.embedding_scales.empty()) backend_.ScaleRows(x, pass.embedding_scales);
  for (const ImageRows& image : pass.batch.images) {
    backend_.PutRows(x, ImageFeatures(image, 0),
                     backend_.Upload(image.target, {static_cast<int64_t>(image.target.size())}));
  }
  return x;
}

// The rows of a picture that this pass takes: of what enters the first layer, or of tap `level` - 1.
Tensor Decoder::ImageFeatures(const ImageRows& image, int level) {
  std::vector<int32_t> rows = image.source;
  for (int32_t& row : rows) row += level * image.level_rows;
  return backend_.GatherRows(image.features,
                             backend_.Upload(rows, {static_cast<int64_t>(rows.size())}));
}

// x += what the vision encoder's tap `index` gave for the rows of pictures. True where there is one.
bool Decoder::AddTap(Tensor x, int index, const Batch& batch) {
  bool added = false;
  for (const ImageRows& image : batch.images) {
    if (index >= image.taps) continue;
    backend_.AddRows(x, ImageFeatures(image, index + 1),
                     backend_.Upload(image.target, {static_cast<int64_t>(image.target.size())}));
    added = true;
  }
  return added;
}

Tensor Decoder::Attention(const Layer& layer, int index, Tensor normed, const Pass& pass) {
  const KvLayer& kv = pass.cache.layer(index);
  const Tensor qkv = backend_.Linear(normed, *layer.qkv);
  backend_.RopeWriteKv(qkv, attention_, layer.head_norms, rope_, pass.paged, kv);
  return backend_.Linear(backend_.PagedAttention(qkv, attention_, pass.paged, kv),
                         *layer.attention_out);
}

Delta Decoder::Ffn(const Layer& layer, int index, Tensor normed, Pass& pass) {
  if (layer.lora_up != nullptr) return LoraFfn(layer, normed, pass);
  if (layer.experts == nullptr) return DenseFfn(layer, normed);
  const Delta routed = RoutedFfn(layer, index, normed, pass);
  if (layer.mix == nullptr) return routed;
  return MixResidual(layer, normed, backend_.Combine(routed.rows, routed.routing),
                     DenseFfn(layer, normed));
}

Tensor Decoder::DenseFfn(const Layer& layer, Tensor normed) {
  if (!spec_.gated_ffn) {
    return backend_.Linear(backend_.Linear(normed, *layer.ffn_up, spec_.activation),
                           *layer.ffn_down);
  }
  return backend_.Linear(
      backend_.GatedActivate(backend_.Linear(normed, *layer.ffn_up), spec_.activation),
      *layer.ffn_down);
}

// Experts and dense FFN are combined as two experts that every row is routed to: sorted by expert, their rows are those of `routed`,
// then those of `dense`.
Delta Decoder::MixResidual(const Layer& layer, Tensor normed, Tensor routed, Tensor dense) {
  const RouterConfig both = {.experts_per_token = 2, .renormalize = false};
  const Routing mix =
      backend_.Route(normed, layer.mix->tensor(), layer.mix_bias->tensor(), both, Tensor());
  const int64_t rows = normed.rows();
  const Tensor stacked = backend_.New(normed.dtype, {2 * rows, normed.cols()});
  backend_.Copy(routed, stacked.Rows(0, rows));
  backend_.Copy(dense, stacked.Rows(rows, rows));
  return {stacked, mix};
}

void Decoder::Drop(Routing& routing, const Pass& pass) {
  const std::vector<float> logits = backend_.DownloadFloats(routing.logits);
  const std::vector<int32_t> chosen = backend_.DownloadInts(routing.experts);
  std::vector<float> weights = backend_.DownloadFloats(routing.weights);
  DropBeyondCapacity(*spec_.capacity, {logits, chosen, routing.logits.cols(), spec_.router},
                     pass.capacity_groups, weights);
  routing.weights = backend_.Upload(weights, {routing.weights.rows(), routing.weights.cols()});
}

void Decoder::NoteRouting(const Routing& routing, Pass& pass) {
  pass.output.expert_choices.push_back(routing.experts);
  if (pass.trace == nullptr) return;
  pass.trace->router_logits.push_back(backend_.DownloadFloats(routing.logits));
}

// No noise: it would choose the experts after the first, and here either one is chosen or all are.
Tensor Decoder::LoraFfn(const Layer& layer, Tensor normed, Pass& pass) {
  const Tensor bias = layer.router_bias == nullptr ? Tensor() : layer.router_bias->tensor();
  const Routing routing =
      backend_.Route(normed, layer.router->tensor(), bias, spec_.router, Tensor());
  NoteRouting(routing, pass);
  const Tensor up = backend_.LoraLinear(normed, *layer.lora_up, routing);
  return backend_.LoraLinear(backend_.GatedActivate(up, spec_.activation), *layer.lora_down,
                             routing);
}

Delta Decoder::RoutedFfn(const Layer& layer, int index, Tensor normed, Pass& pass) {
  const Tensor noise = pass.noise.empty() ? Tensor() : pass.noise[static_cast<size_t>(index)];
  Routing routing = backend_.Route(normed, layer.router->tensor(), Tensor(), spec_.router, noise);
  if (spec_.capacity) Drop(routing, pass);
  NoteRouting(routing, pass);
  return {backend_.ExpertFfn(normed, *layer.experts, routing), routing};
}

// For each routed layer's choices after the first; the other layers' are empty.
std::vector<Tensor> Decoder::UploadNoise(const Batch& batch) {
  std::vector<Tensor> noise(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].experts == nullptr) continue;
    const int64_t experts = layers_[i].experts->experts;
    noise[i] = backend_.Upload(GumbelNoise(batch.router_seeds, batch.router_rows,
                                           static_cast<int>(i), static_cast<int>(experts)),
                               {batch.rows(), experts});
  }
  return noise;
}

// Uploads all that the layers need but pictures.
Decoder::Pass Decoder::BeginPass(const Batch& batch, const KvCache& cache, Trace* trace) {
  const int64_t sequences = batch.sequences();
  TESSERA_CHECK(batch.prompt_rows.size() == batch.context_lengths.size() &&
                batch.pictured.size() == batch.context_lengths.size());
  Pass pass = {.batch = batch, .cache = cache, .trace = trace};
  if (spec_.capacity) pass.capacity_groups = CapacityGroups(batch);
  if (router_mode_ == RouterMode::kGumbel) pass.noise = UploadNoise(batch);
  pass.ids = backend_.Upload(batch.ids, {batch.rows()});
  if (spec_.embedding_scale != 1) {
    pass.embedding_scales = backend_.Upload(EmbeddingScales(spec_, batch), {batch.rows()});
  }
  pass.paged.query_starts = backend_.Upload(batch.query_starts, {sequences + 1});
  pass.paged.context_lengths = backend_.Upload(batch.context_lengths, {sequences});
  pass.paged.block_tables = backend_.Upload(batch.block_tables, {sequences, batch.max_blocks});
  pass.paged.positions = backend_.Upload(batch.positions, {spec_.position_axes(), batch.rows()});
  pass.paged.slots = backend_.Upload(batch.slots, {batch.rows()});
  for (size_t i = 0; i < batch.context_lengths.size(); ++i) {
    pass.paged.max_query = std::max<int64_t>(
        pass.paged.max_query, batch.query_starts[i + 1] - batch.query_starts[i]);
    pass.paged.max_context = std::max<int64_t>(pass.paged.max_context, batch.context_lengths[i]);
  }
  if (spec_.sliding_window > 0) {
    std::vector<int32_t> ends;  // of the prompts
    for (size_t i = 0; i < batch.context_lengths.size(); ++i) {
      const int32_t rows = batch.query_starts[i + 1] - batch.query_starts[i];
      ends.push_back(batch.context_lengths[i] - rows + batch.prompt_rows[i]);
    }
    pass.paged.window_ends = backend_.Upload(ends, {sequences});
  }
  if (const auto count = static_cast<int64_t>(batch.logit_rows.size()); count > 0) {
    pass.logit_rows = backend_.Upload(batch.logit_rows, {count});
    if (spec_.head_scale != 1) {
      pass.head_scales = backend_.Upload(std::vector<float>(count, spec_.head_scale), {count});
    }
  }
  return pass;
}

// Whether what is queued depends on how many rows there are and how wide the block table is, on nothing else: so it is with a row of
// every sequence's answer.
bool Decoder::Repeats(const Pass& pass) const {
  const Batch& batch = pass.batch;
  return batch.rows() == batch.sequences() && batch.logit_rows.size() == batch.ids.size() &&
         batch.images.empty() && !spec_.capacity && pass.trace == nullptr;
}

DecoderOutput Decoder::Forward(const Batch& batch, const KvCache& cache, Trace* trace) {
  Pass pass = BeginPass(batch, cache, trace);
  if (!Repeats(pass)) {
    Run(pass);
    return std::move(pass.output);
  }
  pass.paged.max_context = batch.max_blocks * cache.block_size();
  const std::string key = fmt::format("{} rows, {} blocks", batch.rows(), batch.max_blocks);
  std::vector<Tensor> tensors = cache.repeater().Run(key, [&] {
    Run(pass);
    std::vector<Tensor> output = std::move(pass.output.expert_choices);
    output.push_back(pass.output.logits);
    return output;
  });
  const Tensor logits = tensors.back();
  tensors.pop_back();
  return {logits, std::move(tensors)};
}

void Decoder::Run(Pass& pass) {
  const auto record = [&](Tensor rows) {
    if (pass.trace != nullptr) pass.trace->hidden.push_back(backend_.DownloadFloats(rows));
  };
  Tensor x = EmbedRows(pass);
  record(x);
  Tensor normed = backend_.Norm(x, NormBefore(0));
  const float scale = spec_.branch_scale;
  for (int i = 0; i < spec_.layers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const Delta attention = Attention(layer, i, normed, pass);
    if (spec_.residual == ResidualLayout::kParallel) {
      const Delta ffn = Ffn(layer, i, normed, pass);
      normed = backend_.AddNorm(x, std::array{attention, ffn}, NormBefore(i + 1), scale);
    } else {
      normed = backend_.AddNorm(x, std::array{attention}, layer.ffn_norm, scale);
      const Delta ffn = Ffn(layer, i, normed, pass);
      normed = backend_.AddNorm(x, std::array{ffn}, NormBefore(i + 1), scale);
    }
    if (AddTap(x, i, pass.batch)) normed = backend_.Norm(x, NormBefore(i + 1));
    record(i + 1 < spec_.layers ? x : normed);
    if (heartbeat_) heartbeat_();
  }
  if (pass.logit_rows.empty()) return;
  const Tensor last = backend_.GatherRows(normed, pass.logit_rows);
  if (!pass.head_scales.empty()) backend_.ScaleRows(last, pass.head_scales);
  pass.output.logits = backend_.LinearFloat32(last, *head_);
}

}  // namespace tessera
