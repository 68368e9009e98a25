#include "engine/model/vision_tower.h"

#include <fmt/format.h>

#include "engine/base/status.h"
#include "engine/image/processor_config.h"
#include "engine/model/activation_name.h"
#include "engine/model/unused_keys.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxSize = 1 << 20;

// The defaults of SiglipVisionConfig (Zhai et al. 2023): no class token, no norm before the first
// layer.
VisionSpec SiglipBase() {
  VisionSpec spec;
  spec.image_size = 224;
  spec.patch_size = 16;
  spec.hidden = 768;
  spec.ffn = 3072;
  spec.heads = 12;
  spec.layers = 12;
  spec.activation = Activation::kGeluTanh;
  spec.norm_epsilon = 1e-6f;
  spec.class_token = false;
  spec.patch_bias = true;
  spec.embedding_norm = false;
  return spec;
}

// Those of CLIPVisionConfig (Radford et al. 2021).
VisionSpec ClipBase() {
  VisionSpec spec;
  spec.image_size = 224;
  spec.patch_size = 32;
  spec.hidden = 768;
  spec.ffn = 3072;
  spec.heads = 12;
  spec.layers = 12;
  return spec;
}

struct TowerFamily {
  std::string_view whole;   // model_type of a config with text and vision halves
  std::string_view vision;  // of a vision model's alone
  VisionSpec (*defaults)();
  ImageProcessorClass processor;  // which the authors' code takes with it, whichever a file names
};
constexpr TowerFamily kFamilies[] = {
    {"clip", "clip_vision_model", ClipBase, ImageProcessorClass::kClip},
    {"siglip", "siglip_vision_model", SiglipBase, ImageProcessorClass::kSiglip},
};

// As the published config.json and preprocessor_config.json say.
VisionTower ClipLarge(int image_size) {
  VisionTower tower;
  tower.spec.image_size = tower.processor.size = image_size;
  return tower;
}
VisionTower ClipLarge224() { return ClipLarge(224); }
VisionTower ClipLarge336() { return ClipLarge(336); }
VisionTower SiglipSo400m384() {
  VisionTower tower;
  tower.spec = SiglipBase();
  tower.spec.image_size = tower.processor.size = 384;
  tower.spec.patch_size = 14;
  tower.spec.hidden = 1152;
  tower.spec.ffn = 4304;
  tower.spec.heads = 16;
  tower.spec.layers = 27;
  tower.processor.mean = tower.processor.std = {0.5f, 0.5f, 0.5f};
  tower.processor.pad_colour = {127, 127, 127};
  tower.processor.unpadded = ImageMode::kStretch;
  return tower;
}

struct PublishedTower {
  const char* name;
  VisionTower (*make)();
};
constexpr PublishedTower kPublished[] = {
    {"openai/clip-vit-large-patch14", ClipLarge224},
    {"openai/clip-vit-large-patch14-336", ClipLarge336},
    {"google/siglip-so400m-patch14-384", SiglipSo400m384},
};

std::string_view ClassLabel(ImageProcessorClass of) {
  return of == ImageProcessorClass::kSiglip ? "SigLIP" : "CLIP";
}

const TowerFamily* FindFamily(std::string_view model_type) {
  for (const TowerFamily& family : kFamilies) {
    if (model_type == family.whole || model_type == family.vision) return &family;
  }
  return nullptr;
}

VisionSpec ReadGeometry(JsonFields& config, const VisionSpec& defaults) {
  VisionSpec spec = defaults;
  spec.hidden = static_cast<int>(config.IntOr("hidden_size", spec.hidden, 1, kMaxSize));
  spec.ffn = static_cast<int>(config.IntOr("intermediate_size", spec.ffn, 1, kMaxSize));
  spec.heads = static_cast<int>(config.IntOr("num_attention_heads", spec.heads, 1, 1024));
  spec.layers = static_cast<int>(config.IntOr("num_hidden_layers", spec.layers, 1, 1000));
  spec.image_size = static_cast<int>(config.IntOr("image_size", spec.image_size, 1, 1 << 14));
  spec.patch_size = static_cast<int>(config.IntOr("patch_size", spec.patch_size, 1, 1 << 10));
  spec.norm_epsilon =
      static_cast<float>(config.NumberOr("layer_norm_eps", spec.norm_epsilon, 0, 1));
  spec.activation = ReadActivation(config, "hidden_act", spec.activation);
  if (config.IntOr("num_channels", 3, 1, 16) != 3) config.Refuse("num_channels", "must be 3");
  if (spec.hidden % spec.heads != 0) {
    config.Refuse("num_attention_heads", "must divide hidden_size");
  }
  if (spec.patch_size > spec.image_size) config.Refuse("patch_size", "larger than image_size");
  return spec;
}

// Old files repeat the vision model's sizes, and transformers lets these win.
void CompareRepeated(JsonFields& config, const VisionSpec& spec, const TowerFamily& family) {
  if (!config.Has("vision_config_dict")) return;
  JsonFields repeated = config.Object("vision_config_dict");
  const VisionSpec other = ReadGeometry(repeated, family.defaults());
  config.Merge(repeated);
  if (!(other == spec)) config.Refuse("vision_config_dict", "contradicts \"vision_config\"");
}

// The settings' class where they name none is `otherwise`; where `only`, none else is taken.
absl::Status ReadProcessor(const ProcessorConfig& config, ImageProcessorClass otherwise, bool only,
                           VisionTower& tower) {
  ASSIGN_OR_RETURN(const ImageProcessorClass of, ReadProcessorClass(config.settings, otherwise));
  if (only && of != otherwise) {
    return absl::InvalidArgumentError(
        fmt::format("names {}'s image processor, but the vision tower beside it is {}'s",
                    ClassLabel(of), ClassLabel(otherwise)));
  }
  ASSIGN_OR_RETURN(tower.processor, ParseImageProcessor(config.settings, otherwise));
  tower.warnings = config.warnings;
  WarnOfUnread(JsonFields(config.settings, config.place), ProcessorKeys(),
               of == ImageProcessorClass::kSiglip ? "siglip" : "clip", tower.warnings);
  return absl::OkStatus();
}

// `own_class`: the processor is the family's own, as in the authors' code; else that which its file
// names, CLIP's where it names none, as transformers takes it for LLaVA.
absl::StatusOr<VisionTower> ReadTower(JsonFields& vision_config, std::string_view otherwise,
                                      const fs::path& dir, bool own_class) {
  const TowerFamily* family =
      FindFamily(vision_config.StringOr("model_type", std::string(otherwise)));
  if (family == nullptr) {
    vision_config.Refuse("model_type",
                         "known are those of CLIP and SigLIP and of their vision models");
  }
  RETURN_IF_ERROR(vision_config.status());
  VisionTower tower;
  tower.spec = ReadGeometry(vision_config, family->defaults());
  RETURN_IF_ERROR(vision_config.status());
  ASSIGN_OR_RETURN(const ProcessorConfig config, ReadProcessorConfig(dir, "the vision tower"));
  const absl::Status processor = ReadProcessor(
      config, own_class ? family->processor : ImageProcessorClass::kClip, own_class, tower);
  if (!processor.ok()) return Annotate(processor, config.place);
  if (tower.processor.size != tower.spec.image_size) {
    return absl::InvalidArgumentError(
        fmt::format("{}: images of {} pixels, but the vision tower has image_size {}", config.place,
                    tower.processor.size, tower.spec.image_size));
  }
  return tower;
}

absl::StatusOr<VisionTower> ReadDirectory(const fs::path& dir) {
  const fs::path path = dir / "config.json";
  ASSIGN_OR_RETURN(const nlohmann::json json,
                   ReadJsonFile(path, "it would say the vision tower's geometry"));
  JsonFields config(json, path.string());
  const std::string type = config.String("model_type");
  RETURN_IF_ERROR(config.status());
  const TowerFamily* family = FindFamily(type);
  const bool whole = family != nullptr && type == family->whole;
  JsonFields vision = whole ? config.Object("vision_config") : config;
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(VisionTower tower, ReadTower(vision, type, dir, /*own_class=*/true));
  if (whole) CompareRepeated(config, tower.spec, *family);
  RETURN_IF_ERROR(config.status());
  WarnOfUnread(config, UnusedConfigKeys(), type, tower.warnings);
  return tower;
}

}  // namespace

absl::StatusOr<VisionTower> ReadVisionTower(const std::string& name, const fs::path& dir) {
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

absl::StatusOr<VisionTower> ReadVisionTower(JsonFields& vision_config, std::string_view otherwise,
                                            const fs::path& dir) {
  return ReadTower(vision_config, otherwise, dir, /*own_class=*/false);
}

}  // namespace tessera
