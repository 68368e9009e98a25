// The decoder's weights, from their names in the checkpoint.
#include <cmath>

#include "engine/base/status.h"
#include "engine/model/decoder.h"
#include "engine/model/rope_tables.h"

namespace tessera {
absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(const DecoderSpec& spec, int max_positions,
                                                       RouterMode router_mode,
                                                       WeightLoader& loader) {
  RETURN_IF_ERROR(loader.store().CheckHeadDim(spec.head_dim));
  std::unique_ptr<Decoder> decoder(new Decoder(spec, router_mode));
  decoder->attention_.heads = spec.heads;
  decoder->attention_.kv_heads = spec.kv_heads;
  decoder->attention_.head_dim = spec.head_dim;
  decoder->attention_.scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  decoder->attention_.sliding_window = spec.sliding_window;
  RETURN_IF_ERROR(decoder->LoadRope(max_positions, loader.store()));

  const int64_t rows = spec.vocabulary_rows;
  ASSIGN_OR_RETURN(decoder->embedding_,
                   loader.Tensor(spec.names.embedding + ".weight", {rows, spec.hidden},
                                 loader.store().activation_dtype()));
  for (int i = 0; i < spec.layers; ++i) RETURN_IF_ERROR(decoder->LoadLayer(loader, i));
  ASSIGN_OR_RETURN(decoder->final_norm_,
                   loader.Norm(spec.names.final_norm, spec.hidden, spec.norm, spec.norm_epsilon,
                               BiasIf(spec.norm_bias), decoder->buffers_));
  const std::string head =
      spec.tied_head && !loader.checkpoint().Contains(spec.names.head + ".weight")
          ? spec.names.embedding
          : spec.names.head;
  ASSIGN_OR_RETURN(decoder->head_,
                   loader.Linear({head}, {rows}, spec.hidden, Bias::kNone, /*logits=*/true));
  return decoder;
}

// Frequencies θ^(-2i/d). With sections the axes interleave: row, column and time in turn, as long
// as an axis has pairs left; time has the rest.
absl::Status Decoder::LoadRope(int max_positions, WeightStore& store) {
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
  return LoadRopeTables(max_positions, frequencies, axes, store, buffers_, rope_);
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
  ASSIGN_OR_RETURN(layer.feed_forward, LoadFeedForward(spec_, index, loader));
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

}  // namespace tessera
