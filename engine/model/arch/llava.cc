// LLaVA-1.5 as its authors publish it: config.json of a Llama with mm_* keys; whole, as a LoRA or
// as a projector over a base model. The vision tower's weights lie in the tower's own directory
// unless the model was trained with it. Source: haotian-liu/LLaVA at c121f04,
// llava/model/builder.py, and Liu et al. 2024 (arXiv:2310.03744).
#include <fmt/format.h>

#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/checkpoint/lora.h"
#include "engine/checkpoint/tensor_files.h"
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/vision_config.h"
#include "engine/model/unused_keys.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTowerTensors = "model.vision_tower.vision_tower.vision_model.";

VisionKeys LlavaVisionKeys() {
  VisionKeys keys;
  keys.tower = "mm_vision_tower";
  keys.projector = "mm_projector_type";
  keys.tower_tensors = kTowerTensors;
  keys.projector_tensors = "model.mm_projector";
  keys.default_scales = "336,672,1008";
  return keys;
}

bool HasTensors(const fs::path& dir) { return !absl::IsNotFound(FindTensorFiles(dir).status()); }

// A whole language model; old files hold the rotary frequencies, too.
CheckpointPart WholeModel(const fs::path& dir) {
  return {dir, {{".rotary_emb.inv_freq", std::nullopt, /*anywhere=*/true}}};
}

absl::Status AddLora(const fs::path& dir, ModelSpec& spec) {
  const fs::path trained = dir / "non_lora_trainables.bin";
  ASSIGN_OR_RETURN(const bool has_trained, IsThere(trained));
  if (has_trained) {
    spec.parts.push_back(
        {trained,
         {{"base_model.", ""}, {"model.model.", "model."}, {"model.lm_head.", "lm_head."}}});
  }
  const fs::path safetensors = dir / "adapter_model.safetensors";
  ASSIGN_OR_RETURN(const bool has_safetensors, IsThere(safetensors));
  ASSIGN_OR_RETURN(const bool has_bin, IsThere(dir / "adapter_model.bin"));
  if (!has_safetensors && !has_bin) {
    return absl::NotFoundError(fmt::format(
        "{}: adapter_config.json makes it a LoRA, but neither adapter_model.safetensors "
        "nor adapter_model.bin, which would hold its tensors, is there",
        dir.string()));
  }
  CheckpointPart adapter{has_safetensors ? safetensors : dir / "adapter_model.bin",
                         {{"base_model.model.", ""}}};
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(dir / "adapter_config.json"));
  JsonFields config(json, (dir / "adapter_config.json").string());
  ASSIGN_OR_RETURN(adapter.lora_scale, ReadLoraScale(config));
  WarnOfUnread(config, UnusedConfigKeys(), "lora", spec.warnings);
  spec.parts.push_back(std::move(adapter));
  return absl::OkStatus();
}

// A model directory is a LoRA release if it says so in adapter_config.json, a projector release if
// it holds nothing but mm_projector.bin (which also lies beside whole models).
absl::Status AddLanguageModel(const ModelDirectories& directories, ModelSpec& spec) {
  const fs::path& dir = directories.model;
  ASSIGN_OR_RETURN(const bool lora, IsThere(dir / "adapter_config.json"));
  ASSIGN_OR_RETURN(const bool has_projector, IsThere(dir / "mm_projector.bin"));
  const bool projector = !lora && has_projector && !HasTensors(dir);
  if (!lora && !projector) {
    spec.parts.push_back(WholeModel(dir));
    return absl::OkStatus();
  }
  if (directories.base.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: holds only a {}; name the model that it was trained on with --base", dir.string(),
        lora ? "LoRA (adapter_config.json)" : "projector (mm_projector.bin)"));
  }
  if (lora) RETURN_IF_ERROR(AddLora(dir, spec));
  if (projector) spec.parts.push_back({dir / "mm_projector.bin"});
  spec.parts.push_back(WholeModel(directories.base));
  spec.tokenizer_dir = directories.base;
  return absl::OkStatus();
}

// A tower that was trained is the checkpoint's; else that of the tower's directory counts, be it a
// vision model's alone or a whole CLIP's.
void AddTower(const fs::path& dir, bool trained, ModelSpec& spec) {
  if (dir.empty() || !HasTensors(dir)) return;
  CheckpointPart tower{dir, {{"vision_model.", kTowerTensors}}, "vision_model."};
  spec.parts.insert(trained ? spec.parts.end() : spec.parts.begin(), std::move(tower));
}

}  // namespace

absl::StatusOr<ModelSpec> ReadLlavaOriginal(JsonFields& config,
                                            const ModelDirectories& directories) {
  ModelSpec spec;
  ReadLlamaBlock(config, spec);
  DecoderSpec& decoder = spec.decoder;
  decoder.experts.assign(static_cast<size_t>(decoder.layers), 0);
  decoder.qkv_bias = decoder.attention_out_bias = config.BoolOr("attention_bias", false);
  spec.prompt_format = PromptFormat::kVicunaV1;
  spec.tokenizer_class = TokenizerClass::kSlow;
  spec.stops_at_turn_end = false;
  RETURN_IF_ERROR(ReadVision(config, directories.vision_tower, LlavaVisionKeys(), spec));
  RETURN_IF_ERROR(AddLanguageModel(directories, spec));
  AddTower(directories.vision_tower, config.BoolOr("unfreeze_mm_vision_tower", false), spec);
  RETURN_IF_ERROR(config.status());
  return spec;
}

absl::StatusOr<ModelSpec> ReadLlava(JsonFields& config, const ModelDirectories& directories) {
  return config.Has("text_config") ? ReadLlavaHf(config, directories)
                                   : ReadLlavaOriginal(config, directories);
}

}  // namespace tessera
