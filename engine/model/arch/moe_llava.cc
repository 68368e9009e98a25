#include "engine/model/arch/moe_llava.h"

#include <fmt/format.h>

#include "engine/model/vision_tower.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr int kMaxExperts = 1024;

// "mlp2x_gelu" → 2; "linear" → 1; 0 for anything else.
int ProjectorLayers(const std::string& type) {
  if (type == "linear") return 1;
  int layers = 0;
  size_t at = 3;
  if (type.rfind("mlp", 0) != 0) return 0;
  while (at < type.size() && type[at] >= '0' && type[at] <= '9' && layers < 100) {
    layers = layers * 10 + (type[at++] - '0');
  }
  return type.substr(at) == "x_gelu" ? layers : 0;
}

ProjectorSpec MakeProjector(int layers, const std::string& prefix, bool numbered) {
  ProjectorSpec projector;
  for (int i = 0; i < layers; ++i) {
    projector.layers.push_back(numbered ? fmt::format("{}.{}", prefix, 2 * i) : prefix);
  }
  return projector;
}

}  // namespace

void ReadMoe(JsonFields& config, ModelSpec& spec) {
  DecoderSpec& decoder = spec.decoder;
  decoder.experts.assign(static_cast<size_t>(decoder.layers), 0);
  decoder.names.router = "mlp.deepspeed_moe.gate.wg";
  decoder.names.expert = "mlp.deepspeed_moe.experts.deepspeed_experts.{expert}.";
  if (!config.Has("moe")) return;
  JsonFields moe = config.Object("moe");
  if (!moe.BoolOr("moe_enable", true)) return;

  const std::vector<int64_t> layers = moe.Ints("moe_layers_idx", 0, decoder.layers - 1);
  std::vector<int64_t> experts = moe.Ints("num_experts", 1, kMaxExperts);
  if (experts.size() == 1) experts.resize(layers.size(), experts[0]);
  if (experts.size() != layers.size()) {
    moe.Refuse("num_experts", fmt::format("needs one entry for each of {} routed layers", layers.size()));
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
  // DeepSpeed divides the two chosen probabilities by their sum, but scales a single choice by its probability.
  decoder.router.renormalize = decoder.router.experts_per_token > 1;
  for (int count : decoder.experts) {
    if (count > 0 && count < decoder.router.experts_per_token) {
      moe.Refuse("num_experts", "fewer experts than top_k_experts");
    }
  }
  if (moe.BoolOr("use_residual", false)) moe.Refuse("use_residual", "residual experts are not served");

  // An expert takes at most ceil(tokens / experts · factor · k) choices; below `experts` for factor · k some would be dropped.
  const double factor = moe.NumberOr("eval_capacity_factor", 1.0, 0, 1e6);
  if (factor * decoder.router.experts_per_token < decoder.max_experts()) {
    spec.warnings.push_back(fmt::format(
        "eval_capacity_factor {} would drop tokens in the reference; served without dropping", factor));
  }
  config.Merge(moe);
}

absl::Status ReadVision(JsonFields& config, const VisionTowerDir& tower, const std::string& prefix,
                        ModelSpec& spec) {
  if (!config.Has("mm_image_tower")) return config.status();
  const std::string name = config.String("mm_image_tower");
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(VisionTower loaded, ReadVisionTower(name, tower));
  VisionSpec vision = std::move(loaded.spec);
  spec.image_processor = loaded.processor;

  vision.prefix = prefix + "image_tower.image_tower.vision_model.";
  const int64_t select = config.IntOr("mm_vision_select_layer", -2, -vision.layers - 1, vision.layers);
  vision.run_layers = static_cast<int>(select < 0 ? vision.layers + 1 + select : select);
  const std::string feature = config.StringOr("mm_vision_select_feature", "patch");
  if (feature == "patch") {
    vision.skip_rows = 1;  // the class token; for towers without one, a patch: models were trained so
  } else if (feature == "cls_patch") {
    vision.skip_rows = 0;
  } else {
    config.Refuse("mm_vision_select_feature", "known are patch and cls_patch");
  }
  if (config.Has("mm_hidden_size") && config.Int("mm_hidden_size", 1, 1 << 20) != vision.hidden) {
    config.Refuse("mm_hidden_size",
                  fmt::format("the vision tower {} is {} wide; name the right tower's directory "
                              "with --vision-tower",
                              name, vision.hidden));
  }
  const std::string type = config.StringOr("image_projector_type", "linear");
  const int layers = ProjectorLayers(type);
  if (layers == 0) config.Refuse("image_projector_type", "known are linear and mlpNx_gelu");
  spec.projector =
      MakeProjector(layers, prefix + "mm_projector.image_spatial_proj", type != "linear");
  if (config.BoolOr("mm_use_im_start_end", false)) {
    config.Refuse("mm_use_im_start_end", "start and end tokens around pictures are not served");
  }
  spec.image_mode =
      config.StringOr("image_aspect_ratio", "") == "pad" ? ImageMode::kPad : ImageMode::kCrop;
  spec.vision = std::move(vision);
  return config.status();
}

}  // namespace tessera
