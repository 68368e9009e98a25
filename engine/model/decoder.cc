#include "engine/model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/check.h"
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
    if (spec.scale_prompts_with_images || !batch.has_images[s]) continue;
    std::fill_n(scales.begin() + batch.query_starts[s], batch.prompt_rows[s], 1.0f);
  }
  return scales;
}

// The rows of an image that this pass takes: of what enters the first layer, or of tap `level`
// - 1.
Tensor ImageFeatures(Backend& backend, const ImageRows& image, int level) {
  std::vector<int32_t> rows = image.source;
  for (int32_t& row : rows) row += level * image.level_rows;
  return backend.GatherRows(image.features,
                            backend.Upload(rows, {static_cast<int64_t>(rows.size())}));
}

// x += what the vision encoder's tap `index` gave for the rows of images. True where there is
// one.
bool AddTap(Backend& backend, Tensor x, int index, const Batch& batch) {
  bool added = false;
  for (const ImageRows& image : batch.images) {
    if (index >= image.taps) continue;
    backend.AddRows(x, ImageFeatures(backend, image, index + 1),
                    backend.Upload(image.target, {static_cast<int64_t>(image.target.size())}));
    added = true;
  }
  return added;
}

PagedBatch UploadPaged(Backend& backend, const Batch& batch, const DecoderSpec& spec) {
  const int64_t sequences = batch.sequences();
  PagedBatch paged;
  paged.query_starts = backend.Upload(batch.query_starts, {sequences + 1});
  paged.context_lengths = backend.Upload(batch.context_lengths, {sequences});
  paged.block_tables = backend.Upload(batch.block_tables, {sequences, batch.max_blocks});
  paged.positions = backend.Upload(batch.positions, {spec.position_axes(), batch.rows()});
  paged.slots = backend.Upload(batch.slots, {batch.rows()});
  std::vector<int32_t> prompt_ends;
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int32_t rows = batch.query_starts[s + 1] - batch.query_starts[s];
    paged.max_query = std::max<int64_t>(paged.max_query, rows);
    paged.max_context = std::max<int64_t>(paged.max_context, batch.context_lengths[s]);
    prompt_ends.push_back(batch.context_lengths[s] - rows + batch.prompt_rows[s]);
  }
  if (spec.sliding_window > 0) paged.window_ends = backend.Upload(prompt_ends, {sequences});
  return paged;
}

}  // namespace

struct Decoder::Pass {
  Backend& backend;
  const Batch& batch;
  const KvCache& cache;
  PagedBatch paged = {};
  Tensor ids = {};               // int32 [T]
  Tensor embedding_scales = {};  // float32 [T], empty where all are 1
  Tensor logit_rows = {};        // int32 [rows whose logits are wanted]
  Tensor head_scales = {};       // float32 of the same size, empty where all are 1
  RoutingPass routing = {};
  Tensor logits = {};  // result

  Tensor Upload(const std::vector<int32_t>& values) const {
    return backend.Upload(values, {static_cast<int64_t>(values.size())});
  }
};

// The norm that the rows pass before layer `index`, the final one after the last.
const NormWeights& Decoder::NormBefore(int index) const {
  return index < spec_.layers ? layers_[static_cast<size_t>(index)].attention_norm : final_norm_;
}

Tensor Decoder::EmbedRows(const Pass& pass) const {
  const Tensor x = pass.backend.Embed(embedding_->tensor(), pass.ids, pass.batch.sampled);
  if (!pass.embedding_scales.empty()) pass.backend.ScaleRows(x, pass.embedding_scales);
  for (const ImageRows& image : pass.batch.images) {
    pass.backend.PutRows(x, ImageFeatures(pass.backend, image, 0), pass.Upload(image.target));
  }
  return x;
}

Tensor Decoder::Attention(const Layer& layer, int index, Tensor normed, const Pass& pass) const {
  const KvLayer& kv = pass.cache.layer(index);
  const Tensor qkv = pass.backend.Linear(normed, *layer.qkv);
  pass.backend.RopeWriteKv(qkv, attention_, layer.head_norms, rope_, pass.paged, kv);
  return pass.backend.Linear(pass.backend.PagedAttention(qkv, attention_, pass.paged, kv),
                             *layer.attention_out);
}

// For each routed layer's choices after the first; the other layers' are empty.
std::vector<Tensor> Decoder::UploadNoise(Backend& backend, const Batch& batch) const {
  std::vector<Tensor> noise(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const int experts = layers_[i].feed_forward->noisy_experts();
    if (experts == 0) continue;
    noise[i] = backend.Upload(
        GumbelNoise(batch.router_seeds, batch.router_rows, static_cast<int>(i), experts),
        {batch.rows(), experts});
  }
  return noise;
}

// Uploads all that the layers need but images.
Decoder::Pass Decoder::BeginPass(Backend& backend, const Batch& batch, const KvCache& cache,
                                 Trace* trace) const {
  TESSERA_CHECK(batch.prompt_rows.size() == batch.context_lengths.size() &&
                batch.has_images.size() == batch.context_lengths.size());
  Pass pass = {.backend = backend, .batch = batch, .cache = cache};
  pass.routing.trace = trace;
  if (spec_.capacity) pass.routing.capacity_groups = CapacityGroups(batch);
  if (router_mode_ == RouterMode::kGumbel) pass.routing.noise = UploadNoise(backend, batch);
  pass.ids = pass.Upload(batch.ids);
  if (spec_.embedding_scale != 1) {
    pass.embedding_scales = backend.Upload(EmbeddingScales(spec_, batch), {batch.rows()});
  }
  pass.paged = UploadPaged(backend, batch, spec_);
  if (const auto count = static_cast<int64_t>(batch.logit_rows.size()); count > 0) {
    pass.logit_rows = pass.Upload(batch.logit_rows);
    if (spec_.head_scale != 1) {
      pass.head_scales = backend.Upload(std::vector<float>(count, spec_.head_scale), {count});
    }
  }
  return pass;
}

// Whether what is queued depends on how many rows there are and how wide the block table is, on
// nothing else: so it is with a row of every sequence's answer.
bool Decoder::Repeats(const Pass& pass) const {
  const Batch& batch = pass.batch;
  return batch.rows() == batch.sequences() && batch.logit_rows.size() == batch.ids.size() &&
         batch.images.empty() && !spec_.capacity && pass.routing.trace == nullptr;
}

DecoderOutput Decoder::Forward(Backend& backend, const Batch& batch, const KvCache& cache,
                               Trace* trace) const {
  Pass pass = BeginPass(backend, batch, cache, trace);
  if (!Repeats(pass)) {
    Run(pass);
    return {pass.logits, std::move(pass.routing.expert_choices)};
  }
  pass.paged.max_context = batch.max_blocks * cache.block_size();
  const std::string key = fmt::format("{} rows, {} blocks", batch.rows(), batch.max_blocks);
  std::vector<Tensor> tensors = cache.graph_cache().Run(key, [&] {
    Run(pass);
    std::vector<Tensor> output = std::move(pass.routing.expert_choices);
    output.push_back(pass.logits);
    return output;
  });
  const Tensor logits = tensors.back();
  tensors.pop_back();
  return {logits, std::move(tensors)};
}

void Decoder::Run(Pass& pass) const {
  Backend& backend = pass.backend;
  const auto record = [&](Tensor rows) {
    if (Trace* trace = pass.routing.trace) trace->hidden.push_back(backend.DownloadFloats(rows));
  };
  const Tensor x = EmbedRows(pass);
  record(x);
  Tensor normed = backend.Norm(x, NormBefore(0));
  const float scale = spec_.branch_scale;
  for (int i = 0; i < spec_.layers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const FeedForward& feed_forward = *layer.feed_forward;
    const ResidualBranch attention = Attention(layer, i, normed, pass);
    if (spec_.residual == ResidualLayout::kParallel) {
      const ResidualBranch ffn = feed_forward.Forward(backend, normed, pass.routing);
      normed = backend.AddNorm(x, std::array{attention, ffn}, NormBefore(i + 1), scale);
    } else {
      normed = backend.AddNorm(x, std::array{attention}, layer.ffn_norm, scale);
      const ResidualBranch ffn = feed_forward.Forward(backend, normed, pass.routing);
      normed = backend.AddNorm(x, std::array{ffn}, NormBefore(i + 1), scale);
    }
    if (AddTap(backend, x, i, pass.batch)) normed = backend.Norm(x, NormBefore(i + 1));
    record(i + 1 < spec_.layers ? x : normed);
    if (heartbeat_) heartbeat_();
  }
  if (pass.logit_rows.empty()) return;
  const Tensor last = backend.GatherRows(normed, pass.logit_rows);
  if (!pass.head_scales.empty()) backend.ScaleRows(last, pass.head_scales);
  pass.logits = backend.LinearFloat32(last, *head_);
}

}  // namespace tessera
