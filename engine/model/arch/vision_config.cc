#include "engine/model/arch/vision_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "engine/base/status.h"
#include "engine/model/vision_tower.h"

namespace tessera {
namespace {

constexpr int kMaxProjectorLayers = 99;
constexpr size_t kMaxScales = 8;
constexpr int kMaxScale = 16;
constexpr int kMaxSide = 4096;  // pixels

// "mlp2x_gelu" → 2; 0 for anything else.
int MlpLayers(std::string_view type) {
  int layers = 0;
  if (!type.starts_with("mlp")) return 0;
  type.remove_prefix(3);
  const auto [end, error] = std::from_chars(type.data(), type.data() + type.size(), layers);
  type.remove_prefix(static_cast<size_t>(end - type.data()));
  return error == std::errc() && type == "x_gelu" && layers <= kMaxProjectorLayers ? layers : 0;
}

ProjectorSpec ReadProjector(JsonFields& config, const VisionKeys& keys) {
  ProjectorSpec projector;
  const std::string type = config.StringOr(keys.projector, "linear");
  if (type == "identity") return projector;
  if (type == "linear") {
    projector.layers = {keys.projector_tensors};
    return projector;
  }
  const bool pooled = keys.pooling && type.starts_with("pool_");
  const int layers = MlpLayers(std::string_view(type).substr(pooled ? 5 : 0));
  if (layers <= 0) {
    config.Refuse(keys.projector, keys.pooling
                                      ? "known are linear, identity, mlpNx_gelu and pool_mlpNx_gelu"
                                      : "known are linear, identity and mlpNx_gelu");
  }
  projector.pool = pooled ? 2 : 1;
  for (int i = 0; i < layers; ++i) {  // the activations between them count too
    projector.layers.push_back(
        fmt::format("{}{}.{}", keys.projector_tensors, pooled ? ".block" : "", 2 * i));
  }
  return projector;
}

void ReadSelection(JsonFields& config, VisionSpec& vision) {
  const int64_t select = config.Int("mm_vision_select_layer", -vision.layers - 1, vision.layers);
  vision.run_layers = static_cast<int>(select < 0 ? vision.layers + 1 + select : select);
  const std::string feature = config.StringOr("mm_vision_select_feature", "patch");
  if (feature == "patch") {
    vision.skip_rows =
        1;  // the class token; for towers without one, a patch: models were trained so
  } else if (feature == "cls_patch") {
    vision.skip_rows = 0;
  } else {
    config.Refuse("mm_vision_select_feature", "known are patch and cls_patch");
  }
}

// "336,672" for a tower of 336 pixels → {1, 2}; empty for anything that is no ascending list of its
// multiples.
std::vector<int> ParseScales(std::string_view text, int image_size) {
  std::vector<int> sides;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    int side = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), side);
    if (error != std::errc() || side % image_size != 0 || side < 1) return {};
    sides.push_back(side / image_size);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (text.empty()) break;
    if (text[0] != ',') return {};
    text.remove_prefix(1);
  }
  std::sort(sides.begin(), sides.end());
  const bool fits = sides.front() == 1 && sides.size() <= kMaxScales && sides.back() <= kMaxScale &&
                    sides.back() * image_size <= kMaxSide;
  return fits ? sides : std::vector<int>();
}

// LLaVA's and LLaVA-MoD's S² towers: images are prepared at the largest scale. Only CLIP towers
// have it there.
void ReadScales(JsonFields& config, const VisionKeys& keys, ModelSpec& spec) {
  VisionSpec& vision = *spec.vision;
  if (!config.BoolOr("s2", false)) return;
  if (!vision.class_token) {
    spec.warnings.push_back("s2 is ignored: the reference has several scales for CLIP towers only");
    return;
  }
  vision.scales = ParseScales(config.StringOr("s2_scales", keys.default_scales), vision.image_size);
  if (vision.scales.empty()) {
    vision.scales = {1};
    config.Refuse(
        "s2_scales",
        fmt::format("needs the tower's {} pixels and multiples of them, {} at most",
                    vision.image_size, std::min(kMaxSide, kMaxScale * vision.image_size)));
  }
  spec.image_processor.size = vision.image_size * vision.scales.back();
  if (vision.scales.back() > 1 && vision.token_grid() == 0) {
    config.Refuse("mm_vision_select_feature", "several scales need tokens that fill a square");
  }
}

// The references cut a prompt, rows of images included, at this length.
void ReadPromptLength(JsonFields& config, ModelSpec& spec) {
  const int64_t longest =
      config.IntOr("tokenizer_model_max_length", spec.max_context, 1, INT64_MAX);
  if (longest < spec.max_context) {
    spec.warnings.push_back(
        fmt::format("{}: \"tokenizer_model_max_length\" {}: the reference cuts longer prompts, "
                    "which are served whole",
                    config.place(), longest));
  }
}

// That the parts fit together.
void CheckWidths(JsonFields& config, const VisionKeys& keys, const std::string& tower,
                 const ModelSpec& spec) {
  const int features = spec.vision->features();
  if (config.Has("mm_hidden_size") && config.Int("mm_hidden_size", 1, 1 << 24) != features) {
    config.Refuse("mm_hidden_size",
                  fmt::format("the vision tower {} gives {} features; name the right tower's "
                              "directory with --vision-tower",
                              tower, features));
  }
  if (spec.projector.layers.empty() && features != spec.decoder.hidden) {
    config.Refuse(keys.projector, fmt::format("{} features do not fit a hidden_size of {}",
                                              features, spec.decoder.hidden));
  }
  if (spec.projector.pool > 1 && spec.vision->token_grid() < spec.projector.pool) {
    config.Refuse(keys.projector, fmt::format("{} tokens fill no square that can be pooled",
                                              spec.vision->tokens()));
  }
  if (spec.image_rows() < 1) {
    config.Refuse("mm_vision_select_feature", "leaves no rows of the tower");
  }
}

}  // namespace

absl::Status ReadVision(JsonFields& config, const VisionTowerDir& tower, const VisionKeys& keys,
                        ModelSpec& spec) {
  if (!config.Has(keys.tower)) return config.status();
  const std::string name = config.String(keys.tower);
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(VisionTower loaded, ReadVisionTower(name, tower));
  spec.warnings.insert(spec.warnings.end(), loaded.warnings.begin(), loaded.warnings.end());
  spec.vision = std::move(loaded.spec);
  spec.image_processor = loaded.processor;
  spec.vision->prefix = keys.tower_tensors;
  ReadSelection(config, *spec.vision);
  ReadScales(config, keys, spec);
  spec.projector = ReadProjector(config, keys);
  RETURN_IF_ERROR(config.status());
  CheckWidths(config, keys, name, spec);
  ReadPromptLength(config, spec);
  if (config.BoolOr("mm_use_im_start_end", false)) {
    config.Refuse("mm_use_im_start_end", "start and end tokens around images are not served");
  }
  const std::string aspect = config.StringOr("image_aspect_ratio", "");
  if (aspect.starts_with("anyres")) {
    config.Refuse("image_aspect_ratio", "images in tiles of their own shape are not served");
  }
  spec.image_mode = aspect == "pad" ? ImageMode::kPad : ImageMode::kCrop;
  return config.status();
}

}  // namespace tessera
