#include "engine/model/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/model/expert_capacity.h"
#include "engine/model/rope_tables.h"
#include "engine/model/router_noise.h"
#include "engine/status.h"

namespace tessera {
namespace {

Bias BiasIf(bool wanted) { return wanted ? Bias::kRequired : Bias::kNone; }

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
  PagedBatch paged;
  Trace* trace;
  DecoderOutput output;
  std::vector<int32_t> capacity_groups;  // bounds of the rows that share capacity; empty where nothing is dropped
};

// ---------------------------------------------------------------------------------------------------------------- load

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(const DecoderSpec& spec, int max_positions,
                                                       RouterMode router_mode,
                                                       WeightLoader& loader) {
  RETURN_IF_ERROR(loader.backend().CheckHeadDim(spec.head_dim));
  std::unique_ptr<Decoder> decoder(new Decoder(spec, router_mode, loader.backend()));
  decoder->attention_.heads = spec.heads;
  decoder->attention_.kv_heads = spec.kv_heads;
  decoder->attention_.head_dim = spec.head_dim;
  decoder->attention_.scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  decoder->attention_.sliding_window = spec.sliding_window;
  RETURN_IF_ERROR(decoder->LoadRope(max_positions, loader.backend()));

  const std::string embedding = spec.names.embedding + ".weight";
  int64_t rows = spec.vocabulary_rows;
  if (rows < 0) {
    ASSIGN_OR_RETURN(rows, loader.RowsOf(embedding));
  }
  ASSIGN_OR_RETURN(decoder->embedding_, loader.Tensor(embedding, {rows, spec.hidden},
                                                      loader.backend().activation_dtype()));
  for (int i = 0; i < spec.layers; ++i) RETURN_IF_ERROR(decoder->LoadLayer(loader, i));
  ASSIGN_OR_RETURN(decoder->final_norm_,
                   loader.Norm(spec.names.final_norm, spec.hidden, spec.norm, spec.norm_epsilon,
                               BiasIf(spec.norm_bias), decoder->buffers_));
  const std::string head =
      spec.tied_head && !loader.checkpoint().Contains(spec.names.head + ".weight")
          ? spec.names.embedding
          : spec.names.head;
  ASSIGN_OR_RETURN(decoder->head_, loader.Linear({head}, {rows}, spec.hidden, Bias::kNone));
  return decoder;
}

// Frequencies θ^(-2i/d). With sections the axes interleave: row, column and time in turn, as long as an axis has pairs left; time has the
// rest.
absl::Status Decoder::LoadRope(int max_positions, Backend& backend) {
  std::vector<float> frequencies;
  std::vector<int32_t> axes;
  for (int i = 0; i < spec_.rotary_dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec_.rotary_dims);
    frequencies.push_back(1.0f / std::pow(static_cast<float>(spec_.rope_theta), exponent));
    const int axis = i % 3;
    const bool spatial = !spec_.rope_sections.empty() && axis > 0 &&
                         i < 3 * spec_.rope_sections[static_cast<size_t>(axis)];
    axes.push_back(spatial ? axis : 0);
  }
  return LoadRopeTables(max_positions, frequencies, axes, backend, buffers_, rope_);
}

absl::Status Decoder::LoadLayer(WeightLoader& loader, int index) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, index);
  const int64_t query_width = static_cast<int64_t>(spec_.heads) * spec_.head_dim;
  const int64_t kv_width = static_cast<int64_t>(spec_.kv_heads) * spec_.head_dim;
  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm,
                   loader.Norm(prefix + names.attention_norm, spec_.hidden, spec_.norm,
                               spec_.norm_epsilon, BiasIf(spec_.norm_bias), buffers_));
  std::vector<std::string> qkv;
  for (const std::string& name : names.qkv) qkv.push_back(prefix + name);
  const std::vector<int64_t> widths = qkv.size() == 1
                                          ? std::vector<int64_t>{query_width + 2 * kv_width}
                                          : std::vector<int64_t>{query_width, kv_width, kv_width};
  ASSIGN_OR_RETURN(layer.qkv, loader.Linear(qkv, widths, spec_.hidden, BiasIf(spec_.qkv_bias)));
  ASSIGN_OR_RETURN(layer.attention_out,
                   loader.Linear({prefix + names.attention_out}, {spec_.hidden}, query_width,
                                 BiasIf(spec_.attention_out_bias)));
  RETURN_IF_ERROR(LoadHeadNorm(loader, prefix, names.query_norm, layer.head_norms.query));
  RETURN_IF_ERROR(LoadHeadNorm(loader, prefix, names.key_norm, layer.head_norms.key));
  if (spec_.residual == ResidualLayout::kSequential) {
    ASSIGN_OR_RETURN(layer.ffn_norm,
                     loader.Norm(prefix + names.ffn_norm, spec_.hidden, spec_.norm,
                                 spec_.norm_epsilon, BiasIf(spec_.norm_bias), buffers_));
  }
  RETURN_IF_ERROR(LoadFfn(loader, index, layer));
  layers_.push_back(std::move(layer));
  return absl::OkStatus();
}

absl::Status Decoder::LoadHeadNorm(WeightLoader& loader, const std::string& prefix,
                                   const std::string& name, NormWeights& norm) {
  if (name.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(norm, loader.Norm(prefix + name, spec_.head_dim, spec_.norm, spec_.norm_epsilon,
                                     BiasIf(spec_.norm_bias), buffers_));
  return absl::OkStatus();
}

absl::Status Decoder::LoadFfn(WeightLoader& loader, int index, Layer& layer) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, index);
  if (spec_.experts[static_cast<size_t>(index)] == 0) {
    return LoadDenseFfn(loader, prefix + names.mlp, layer);
  }
  if (spec_.lora) return LoadLoraFfn(loader, index, layer);
  RETURN_IF_ERROR(LoadExperts(loader, index, layer));
  if (!spec_.residual_experts) return absl::OkStatus();
  RETURN_IF_ERROR(LoadDenseFfn(loader, prefix + names.residual_mlp, layer));
  ASSIGN_OR_RETURN(layer.mix, loader.Tensor(prefix + names.residual_mix + ".weight",
                                            {2, spec_.hidden}, DType::kFloat32));
  ASSIGN_OR_RETURN(layer.mix_bias,
                   loader.Tensor(prefix + names.residual_mix + ".bias", {2}, DType::kFloat32));
  return absl::OkStatus();
}

absl::Status Decoder::LoadDenseFfn(WeightLoader& loader, const std::string& prefix, Layer& layer) {
  const DecoderNames& names = spec_.names;
  const Bias bias = BiasIf(spec_.ffn_bias);
  std::vector<std::string> up;
  for (const std::string& name : names.ffn_up) up.push_back(prefix + name);
  ASSIGN_OR_RETURN(layer.ffn_up, loader.Linear(up, std::vector<int64_t>(up.size(), spec_.ffn),
                                               spec_.hidden, bias));
  ASSIGN_OR_RETURN(layer.ffn_down, loader.Linear({prefix + names.ffn_down}, {spec_.hidden},
                                                 spec_.ffn, bias));
  return absl::OkStatus();
}

absl::Status Decoder::LoadExperts(WeightLoader& loader, int index, Layer& layer) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, index);
  const int experts = spec_.experts[static_cast<size_t>(index)];
  const Bias bias = BiasIf(spec_.ffn_bias);
  ASSIGN_OR_RETURN(layer.router, loader.Tensor(prefix + names.router + ".weight",
                                               {experts, spec_.hidden}, DType::kFloat32));
  const int64_t ffn = spec_.ffn_of_experts();
  std::vector<std::string> prefixes;
  for (int e = 0; e < experts; ++e) prefixes.push_back(prefix + ExpandName(names.expert, index, e));
  const auto has = [&](const std::string& name) {
    return loader.checkpoint().Contains(prefixes[0] + name + ".weight");
  };
  const bool apart = has(names.ffn_up[0]) || has(names.ffn_down);
  if (!names.fused_up.empty() && !apart) {
    ASSIGN_OR_RETURN(layer.experts,
                     loader.FusedExperts(prefix + names.fused_up, prefix + names.fused_down,
                                         experts, spec_.hidden, ffn, spec_.activation));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(layer.experts, loader.Experts(prefixes, names.ffn_up, names.ffn_down,
                                                 spec_.hidden, ffn, bias, spec_.activation));
  return absl::OkStatus();
}

absl::Status Decoder::LoadLoraFfn(WeightLoader& loader, int index, Layer& layer) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, index);
  const int experts = spec_.experts[static_cast<size_t>(index)];
  ASSIGN_OR_RETURN(layer.router, loader.Tensor(prefix + names.router + ".weight",
                                               {experts, spec_.hidden}, DType::kFloat32));
  if (spec_.router_bias) {
    ASSIGN_OR_RETURN(layer.router_bias,
                     loader.Tensor(prefix + names.router + ".bias", {experts}, DType::kFloat32));
  }
  std::vector<std::string> up_names;
  for (const std::string& name : names.ffn_up) up_names.push_back(prefix + names.mlp + name);
  std::vector<std::vector<std::string>> up, down;
  for (int e = 0; e < experts; ++e) {
    std::vector<std::string>& prefixes = up.emplace_back();
    for (const std::string& name : names.lora_up) {
      prefixes.push_back(prefix + ExpandName(name, index, e));
    }
    down.push_back({prefix + ExpandName(names.lora_down, index, e)});
  }
  const Bias bias = BiasIf(spec_.ffn_bias);
  ASSIGN_OR_RETURN(layer.lora_up,
                   loader.Lora(up_names, std::vector<int64_t>(up_names.size(), spec_.ffn),
                               spec_.hidden, bias, up, *spec_.lora));
  ASSIGN_OR_RETURN(layer.lora_down, loader.Lora({prefix + names.mlp + names.ffn_down},
                                                {spec_.hidden}, spec_.ffn, bias, down, *spec_.lora));
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------------------------- forward

void Decoder::ScaleAll(Tensor x, float factor) {
  const std::vector<float> factors(static_cast<size_t>(x.rows()), factor);
  backend_.ScaleRows(x, backend_.Upload(factors, {x.rows()}));
}

// The norm that the rows pass before layer `index`, the final one after the last.
const NormWeights& Decoder::NormBefore(int index) const {
  return index < spec_.layers ? layers_[static_cast<size_t>(index)].attention_norm : final_norm_;
}

Tensor Decoder::EmbedRows(const Batch& batch) {
  Tensor x = backend_.Embed(embedding_->tensor(), backend_.Upload(batch.ids, {batch.rows()}));
  if (spec_.embedding_scale != 1) {
    backend_.ScaleRows(x, backend_.Upload(EmbeddingScales(spec_, batch), {batch.rows()}));
  }
  for (const ImageRows& image : batch.images) {
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

Tensor Decoder::Ffn(const Layer& layer, int index, Tensor normed, Pass& pass) {
  if (layer.lora_up != nullptr) return LoraFfn(layer, normed, pass);
  if (layer.experts == nullptr) return DenseFfn(layer, normed);
  const Tensor routed = RoutedFfn(layer, index, normed, pass);
  if (layer.mix == nullptr) return routed;
  return MixResidual(layer, normed, routed, DenseFfn(layer, normed));
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
Tensor Decoder::MixResidual(const Layer& layer, Tensor normed, Tensor routed, Tensor dense) {
  const RouterConfig both = {.experts_per_token = 2, .renormalize = false};
  const Routing mix =
      backend_.Route(normed, layer.mix->tensor(), layer.mix_bias->tensor(), both, Tensor());
  const int64_t rows = normed.rows();
  const Tensor stacked = backend_.New(normed.dtype, {2 * rows, normed.cols()});
  backend_.Copy(routed, stacked.Rows(0, rows));
  backend_.Copy(dense, stacked.Rows(rows, rows));
  return backend_.Combine(stacked, mix);
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

Tensor Decoder::RoutedFfn(const Layer& layer, int index, Tensor normed, Pass& pass) {
  Tensor noise;
  if (router_mode_ == RouterMode::kGumbel) {
    const int64_t experts = layer.experts->experts;
    noise = backend_.Upload(GumbelNoise(pass.batch.router_seeds, pass.batch.router_rows, index,
                                        static_cast<int>(experts)),
                            {pass.batch.rows(), experts});
  }
  Routing routing = backend_.Route(normed, layer.router->tensor(), Tensor(), spec_.router, noise);
  if (spec_.capacity) Drop(routing, pass);
  NoteRouting(routing, pass);
  return backend_.Combine(backend_.ExpertFfn(normed, *layer.experts, routing), routing);
}

Decoder::Pass Decoder::BeginPass(const Batch& batch, const KvCache& cache, Trace* trace) {
  const int64_t sequences = batch.sequences();
  TESSERA_CHECK(batch.prompt_rows.size() == batch.context_lengths.size() &&
                batch.pictured.size() == batch.context_lengths.size());
  Pass pass{batch, cache, {}, trace, {}, {}};
  if (spec_.capacity) pass.capacity_groups = CapacityGroups(batch);
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
  return pass;
}

DecoderOutput Decoder::Forward(const Batch& batch, const KvCache& cache, Trace* trace) {
  Pass pass = BeginPass(batch, cache, trace);
  const auto record = [&](Tensor rows) {
    if (trace != nullptr) trace->hidden.push_back(backend_.DownloadFloats(rows));
  };
  Tensor x = EmbedRows(batch);
  record(x);
  Tensor normed = backend_.Norm(x, NormBefore(0));
  const float scale = spec_.branch_scale;
  for (int i = 0; i < spec_.layers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const Tensor attention = Attention(layer, i, normed, pass);
    if (spec_.residual == ResidualLayout::kParallel) {
      const Tensor ffn = Ffn(layer, i, normed, pass);
      normed = backend_.AddNorm(x, std::array{attention, ffn}, NormBefore(i + 1), scale);
    } else {
      normed = backend_.AddNorm(x, std::array{attention}, layer.ffn_norm, scale);
      const Tensor ffn = Ffn(layer, i, normed, pass);
      normed = backend_.AddNorm(x, std::array{ffn}, NormBefore(i + 1), scale);
    }
    if (AddTap(x, i, batch)) normed = backend_.Norm(x, NormBefore(i + 1));
    record(i + 1 < spec_.layers ? x : normed);
  }
  if (!batch.logit_rows.empty()) {
    const Tensor last = backend_.GatherRows(
        normed,
        backend_.Upload(batch.logit_rows, {static_cast<int64_t>(batch.logit_rows.size())}));
    if (spec_.head_scale != 1) ScaleAll(last, spec_.head_scale);
    pass.output.logits = backend_.LinearFloat32(last, *head_);
  }
  return std::move(pass.output);
}

}  // namespace tessera
