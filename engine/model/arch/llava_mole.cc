// LLaVA-MoLE (Chen et al. 2024, arXiv:2401.16160): Vicuna with low-rank experts in every FFN, plain
// LoRA in attention, learned rows around an image. Source: forwchen/LLaVA-MoLE at 5876301,
// model.py, moe.py, llava_mole_infer.py.
//
// A release is an adapter: its directory holds a state dict (the whole model's or the trained part
// only; what it holds wins) and a `mole` object that says how to route and α, in mole.json or in
// PEFT's adapter_config.json. Rank and number of experts are those of its tensors. The rest comes
// from the base model's directory and the vision tower's.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/base/status.h"
#include "engine/checkpoint/lora.h"
#include "engine/checkpoint/part_names.h"
#include "engine/checkpoint/tensor_file.h"
#include "engine/checkpoint/tensor_files.h"
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/unused_keys.h"
#include "engine/model/vision_tower.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxExperts = 1024;
constexpr float kRepetitionPenalty = 10;  // of llava_mole_infer.py

// Under the base model's names; PEFT's directories lack the first prefix.
CheckpointPart AdapterPart(const fs::path& dir) {
  return {dir,
          {{"llm_model.", ""},
           {"base_model.model.", ""},
           {".base_layer.", ".", /*anywhere=*/true},
           {"mlp.original_module.", "mlp.", /*anywhere=*/true},
           {".rotary_emb.inv_freq", std::nullopt, /*anywhere=*/true},
           {"in_adaptor.text_embed.", std::nullopt},  // the embedding's other name
           {"vit.vision_tower.", ""}}};
}

// Dims of the adapter's tensors, by name.
absl::StatusOr<std::map<std::string, std::vector<int64_t>>> ReadShapes(const CheckpointPart& part) {
  ASSIGN_OR_RETURN(const TensorFiles found, FindTensorFiles(part.path));
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const fs::path& path : found.files) {
    ASSIGN_OR_RETURN(const std::unique_ptr<TensorFile> file, TensorFile::Open(path));
    for (const auto& [own_name, tensor] : file->tensors()) {
      if (const auto name = CanonicalName(part, own_name)) shapes[*name] = tensor.dims;
    }
  }
  return shapes;
}

bool HasTensors(const fs::path& dir) { return !absl::IsNotFound(FindTensorFiles(dir).status()); }

// The first dim of the first tensor whose name ends so; 0 where there is none.
int64_t RowsOf(const std::map<std::string, std::vector<int64_t>>& shapes, std::string_view ending) {
  const auto found = std::find_if(shapes.begin(), shapes.end(), [&](const auto& tensor) {
    return std::string_view(tensor.first).ends_with(ending) && !tensor.second.empty();
  });
  return found == shapes.end() ? 0 : found->second[0];
}

// The config may repeat what the tensors say.
void Compare(JsonFields& fields, const std::string& key, int64_t have) {
  if (fields.Has(key) && fields.Int(key, 1, kMaxSize) != have) {
    fields.Refuse(key, fmt::format("the tensors say {}", have));
  }
}

void CheckModules(JsonFields& mole) {
  if (!mole.Has("modules")) return;
  nlohmann::json modules = mole.object().at("modules");
  if (modules.is_array()) std::sort(modules.begin(), modules.end());
  if (modules != nlohmann::json{"down_proj", "gate_proj", "up_proj"}) {
    mole.Refuse("modules", "gate_proj, up_proj and down_proj are the ones served");
  }
}

// Low-rank experts in every layer, and the scale of the attention's plain LoRA.
absl::Status ReadExperts(JsonFields& config, CheckpointPart& adapter, DecoderSpec& decoder) {
  ASSIGN_OR_RETURN(const auto shapes, ReadShapes(adapter));
  const int64_t experts = RowsOf(shapes, ".mlp.router.weight");
  const int64_t rank = RowsOf(shapes, ".mlp.moe_gate.0.lora_A");
  if (experts < 1 || experts > kMaxExperts || rank < 1 || rank > kMaxSize) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no router \"model.layers.….mlp.router.weight\" of 1 to {} experts, or no "
                    "\"model.layers.….mlp.moe_gate.0.lora_A\"",
                    adapter.path.string(), kMaxExperts));
  }
  JsonFields mole = config.Object("mole");
  Compare(mole, "num_experts", experts);
  Compare(mole, "rank", rank);
  CheckModules(mole);
  const double alpha = mole.Has("alpha") ? mole.NumberOr("alpha", 0, -1e9, 1e9)
                                         : config.NumberOr("lora_alpha", 0, -1e9, 1e9);
  if (alpha == 0) mole.Refuse("alpha", "is needed");
  const std::string routing = mole.StringOr("routing", "top1");
  if (routing != "top1" && routing != "dense") {
    mole.Refuse("routing", "known are top1 and dense");
  }
  config.Merge(mole);
  RETURN_IF_ERROR(config.status());

  decoder.experts.assign(static_cast<size_t>(decoder.layers), static_cast<int>(experts));
  decoder.lora = LoraSpec{static_cast<int>(rank), static_cast<float>(alpha / rank)};
  // The one expert that is chosen weighs 1; all of them weigh their probabilities.
  decoder.router.experts_per_token = routing == "dense" ? static_cast<int>(experts) : 1;
  decoder.router.renormalize = routing == "top1";
  decoder.router_bias = true;
  decoder.names.router = "mlp.router";
  decoder.names.lora_up = {"mlp.moe_gate.{expert}.", "mlp.moe_up.{expert}."};
  decoder.names.lora_down = "mlp.moe_down.{expert}.";

  if (config.Has("r") || config.Has("lora_alpha")) {  // a PEFT file, which has defaults of its own
    ASSIGN_OR_RETURN(adapter.lora_scale, ReadLoraScale(config));
  } else {
    const int64_t attention =
        std::max(RowsOf(shapes, ".lora_A.default.weight"), RowsOf(shapes, ".lora_A.weight"));
    adapter.lora_scale = alpha / static_cast<double>(std::max<int64_t>(attention, 1));
  }
  return absl::OkStatus();
}

absl::Status ReadVision(const VisionTowerDir& dir, ModelSpec& spec) {
  ASSIGN_OR_RETURN(VisionTower tower, ReadVisionTower("openai/clip-vit-large-patch14-336", dir));
  spec.warnings.insert(spec.warnings.end(), tower.warnings.begin(), tower.warnings.end());
  spec.vision = std::move(tower.spec);
  spec.vision->prefix = "vision_model.";
  spec.vision->run_layers = spec.vision->layers;
  spec.image_processor = tower.processor;
  spec.image_mode = ImageMode::kPad;
  spec.projector.layers = {"in_adaptor.projector.0", "in_adaptor.projector.2"};
  spec.projector.edges = {"in_adaptor.visual_start_token", "in_adaptor.visual_end_token"};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelSpec> ReadLlavaMole(JsonFields& config, const ModelDirectories& directories) {
  if (directories.base.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a LLaVA-MoLE release is an adapter; name the directory of the Vicuna that "
                    "it was trained on with --base",
                    directories.model.string()));
  }
  const fs::path base_path = directories.base / "config.json";
  ASSIGN_OR_RETURN(const nlohmann::json json,
                   ReadJsonFile(base_path, "it would describe the base model that --base names"));
  JsonFields base(json, base_path.string());
  if (base.StringOr("model_type", "") != "llama") {
    base.Refuse("model_type", "a LLaVA-MoLE release needs a llama as its base");
  }
  ModelSpec spec;
  ReadLlamaBlock(base, spec);
  ReadLlamaBiases(base, spec.decoder);
  RETURN_IF_ERROR(base.status());
  WarnOfUnread(base, UnusedConfigKeys(), "llama", spec.warnings);
  CheckpointPart adapter = AdapterPart(directories.model);
  RETURN_IF_ERROR(ReadExperts(config, adapter, spec.decoder));
  RETURN_IF_ERROR(ReadVision(directories.vision_tower, spec));

  spec.prompt_format = PromptFormat::kLlavaMole;
  spec.repetition = {kRepetitionPenalty, /*bos_for_prompt=*/true};
  spec.stops_at_turn_end = false;
  spec.tokenizer_dir = directories.base;
  spec.tokenizer_class = TokenizerClass::kFast;
  spec.parts.push_back(std::move(adapter));
  // A directory without weights is there for its other files: a whole state dict needs no more.
  if (HasTensors(directories.base)) {
    spec.parts.push_back(
        {directories.base, {{".rotary_emb.inv_freq", std::nullopt, /*anywhere=*/true}}});
  }
  if (!directories.vision_tower.empty() && HasTensors(directories.vision_tower)) {
    spec.parts.push_back({directories.vision_tower, {}, /*only=*/"vision_model."});
  }
  return spec;
}

}  // namespace tessera
