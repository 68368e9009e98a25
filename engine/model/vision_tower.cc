#include "engine/model/vision_tower.h"

#include <fmt/format.h>

#include "engine/checkpoint/json_file.h"
#include "engine/status.h"

namespace tessera {
namespace {

// CLIP ViT-L/14 at 336 pixels (Radford et al. 2021), as its published config.json and preprocessor_config.json say.
VisionTower ClipLarge336() { return {}; }

struct PublishedTower {
  const char* name;
  VisionTower (*make)();
};
constexpr PublishedTower kPublished[] = {
    {"openai/clip-vit-large-patch14-336", ClipLarge336},
};

absl::StatusOr<VisionSpec> ParseClip(JsonFields& config) {
  VisionSpec spec;
  spec.hidden = static_cast<int>(config.IntOr("hidden_size", 768, 1, 1 << 20));
  spec.ffn = static_cast<int>(config.IntOr("intermediate_size", 3072, 1, 1 << 20));
  spec.heads = static_cast<int>(config.IntOr("num_attention_heads", 12, 1, 1024));
  spec.layers = static_cast<int>(config.IntOr("num_hidden_layers", 12, 1, 1000));
  spec.image_size = static_cast<int>(config.IntOr("image_size", 224, 1, 1 << 14));
  spec.patch_size = static_cast<int>(config.IntOr("patch_size", 32, 1, 1 << 10));
  spec.norm_epsilon = static_cast<float>(config.NumberOr("layer_norm_eps", 1e-5, 0, 1));
  if (config.IntOr("num_channels", 3, 1, 16) != 3) config.Refuse("num_channels", "must be 3");
  if (config.StringOr("hidden_act", "quick_gelu") != "quick_gelu") {
    config.Refuse("hidden_act", "quick_gelu is the only one served for CLIP");
  }
  if (spec.hidden % spec.heads != 0) {
    config.Refuse("num_attention_heads", "must divide hidden_size");
  }
  if (spec.patch_size > spec.image_size) config.Refuse("patch_size", "larger than image_size");
  RETURN_IF_ERROR(config.status());
  return spec;
}

absl::StatusOr<VisionTower> ReadDirectory(const std::filesystem::path& dir) {
  const std::filesystem::path config_path = dir / "config.json";
  ASSIGN_OR_RETURN(const nlohmann::json config_json, ReadJsonFile(config_path));
  JsonFields config(config_json, config_path.string());
  const std::string type = config.String("model_type");
  VisionTower tower;
  if (type == "clip") {
    JsonFields vision = config.Object("vision_config");
    ASSIGN_OR_RETURN(tower.spec, ParseClip(vision));
  } else if (type == "clip_vision_model") {
    ASSIGN_OR_RETURN(tower.spec, ParseClip(config));
  } else {
    config.Refuse("model_type", "known are clip and clip_vision_model");
  }
  RETURN_IF_ERROR(config.status());

  const std::filesystem::path processor_path = dir / "preprocessor_config.json";
  ASSIGN_OR_RETURN(const nlohmann::json processor, ReadJsonFile(processor_path));
  auto parsed = ParseImageProcessor(processor);
  if (!parsed.ok()) return Annotate(parsed.status(), processor_path.string());
  tower.processor = *std::move(parsed);
  if (tower.processor.size != tower.spec.image_size) {
    return absl::InvalidArgumentError(
        fmt::format("{}: pictures of {} pixels, but {} has image_size {}", processor_path.string(),
                    tower.processor.size, config_path.string(), tower.spec.image_size));
  }
  return tower;
}

}  // namespace

absl::StatusOr<VisionTower> ReadVisionTower(const std::string& name,
                                            const std::filesystem::path& dir) {
  if (!dir.empty()) return ReadDirectory(dir);
  std::string known;
  for (const PublishedTower& tower : kPublished) {
    if (name == tower.name) return tower.make();
    known += (known.empty() ? "" : ", ") + std::string(tower.name);
  }
  return absl::UnimplementedError(
      fmt::format("vision tower \"{}\" is not known (known: {}); name its directory with "
                  "--vision-tower",
                  name, known));
}

}  // namespace tessera
