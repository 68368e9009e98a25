#include "engine/model/arch/moe_llava.h"

#include <fmt/format.h>

#include "engine/base/status.h"
#include "engine/model/arch/vision_config.h"

namespace tessera {
namespace {

constexpr int kMaxExperts = 1024;

}  // namespace

void ReadMoe(JsonFields& config, ModelSpec& spec) {
  DecoderSpec& decoder = spec.decoder;
  decoder.experts.assign(static_cast<size_t>(decoder.layers), 0);
  decoder.names.router = "mlp.deepspeed_moe.gate.wg";
  decoder.names.expert = "mlp.deepspeed_moe.experts.deepspeed_experts.{expert}.";
  decoder.names.residual_mlp = "mlp.mlp.";
  decoder.names.residual_mix = "mlp.coefficient";
  JsonFields moe = config.Object("moe");
  const bool enabled = moe.BoolOr("moe_enable", true);
  config.Merge(moe);
  if (!enabled) return;

  const std::vector<int64_t> layers = moe.Ints("moe_layers_idx", 0, decoder.layers - 1);
  std::vector<int64_t> experts = moe.Ints("num_experts", 1, kMaxExperts);
  if (experts.size() == 1) experts.resize(layers.size(), experts[0]);
  if (experts.size() != layers.size()) {
    moe.Refuse("num_experts",
               fmt::format("needs one entry for each of {} routed layers", layers.size()));
    experts.resize(layers.size(), 1);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (decoder.experts[static_cast<size_t>(layers[i])] > 0) {
      moe.Refuse("moe_layers_idx", fmt::format("names layer {} twice", layers[i]));
    }
    decoder.experts[static_cast<size_t>(layers[i])] = static_cast<int>(experts[i]);
  }
  decoder.router.experts_per_token =
      static_cast<int>(moe.IntOr("top_k_experts", 2, 1, std::min<int64_t>(2, kMaxExperts)));
  // DeepSpeed divides the two chosen probabilities by their sum, but scales a single choice by its
  // probability.
  decoder.router.renormalize = decoder.router.experts_per_token > 1;
  for (int count : decoder.experts) {
    if (count > 0 && count < decoder.router.experts_per_token) {
      moe.Refuse("num_experts", "fewer experts than top_k_experts");
    }
  }
  decoder.residual_experts = moe.BoolOr("use_residual", false);

  // An expert takes at most ceil(tokens / experts · factor · k) choices: only below `experts` for
  // factor · k some are dropped.
  ExpertCapacity capacity;
  capacity.factor = moe.NumberOr("eval_capacity_factor", 1.0, 0, 1e6);
  capacity.minimum = static_cast<int>(moe.IntOr("min_capacity", 4, 0, 1 << 30));
  if (capacity.factor * decoder.router.experts_per_token < decoder.max_experts()) {
    decoder.capacity = capacity;
  }
  config.Merge(moe);
}

absl::Status ReadVision(JsonFields& config, const VisionTowerDir& tower, const std::string& prefix,
                        ModelSpec& spec) {
  VisionKeys keys;
  keys.tower = "mm_image_tower";
  keys.projector = "image_projector_type";
  keys.tower_tensors = prefix + "image_tower.image_tower.vision_model.";
  keys.projector_tensors = prefix + "mm_projector.image_spatial_proj";
  keys.default_scales = "336,672";
  keys.pooling = true;
  return ReadVision(config, tower, keys, spec);
}

absl::StatusOr<ModelSpec> WithExpertsAndVision(JsonFields& config, const VisionTowerDir& tower,
                                               const std::string& prefix, ModelSpec spec) {
  RETURN_IF_ERROR(config.status());
  ReadMoe(config, spec);
  RETURN_IF_ERROR(config.status());
  RETURN_IF_ERROR(ReadVision(config, tower, prefix, spec));
  spec.tokenizer_class = TokenizerClass::kSlow;
  return spec;
}

}  // namespace tessera
