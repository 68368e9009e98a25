// LLaVA-1.5 in the layout of Hugging Face transformers (LlavaForConditionalGeneration): a
// text_config, a vision_config and the vision tower in one checkpoint, under the tensor names of
// old releases or those of 4.52 and later.
#include "engine/base/status.h"
#include "engine/model/activation_name.h"
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/vision_tower.h"

namespace tessera {
namespace {

using nlohmann::json;

// What LlamaConfig has where text_config is silent.
json LlamaDefaults() {
  return {{"hidden_size", 4096},
          {"num_hidden_layers", 32},
          {"num_attention_heads", 32},
          {"intermediate_size", 11008}};
}

// What LlavaConfig has where there is no vision_config: CLIP ViT-L/14 at 336 pixels.
json VisionDefaults() {
  return {{"hidden_size", 1024}, {"image_size", 336},         {"intermediate_size", 4096},
          {"patch_size", 14},    {"num_attention_heads", 16}, {"num_hidden_layers", 24}};
}

std::vector<TensorRename> CanonicalNames() {
  return {{"language_model.model.", "model."},
          {"language_model.lm_head.", "lm_head."},
          {"model.language_model.", "model."},
          {"model.vision_tower.", "vision_tower."},
          {"model.multi_modal_projector.", "multi_modal_projector."},
          {".rotary_emb.inv_freq", std::nullopt, /*anywhere=*/true}};
}

absl::Status ReadText(JsonFields& config, ModelSpec& spec) {
  JsonFields text = config.Object("text_config");
  text.SetDefaults(LlamaDefaults());
  if (text.StringOr("model_type", "llama") != "llama") {
    text.Refuse("model_type", "llama is the only one served");
  }
  ReadLlamaBlock(text, spec);
  DecoderSpec& decoder = spec.decoder;
  decoder.experts.assign(static_cast<size_t>(decoder.layers), 0);
  ReadLlamaBiases(text, decoder);
  // Either may say so: the library has moved the key from the one to the other.
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false) || decoder.tied_head;
  config.Merge(text);
  return config.status();
}

absl::Status ReadTower(JsonFields& config, const ModelDirectories& directories, ModelSpec& spec) {
  const json defaults = VisionDefaults();
  JsonFields fields = config.Has("vision_config") ? config.Object("vision_config")
                                                  : JsonFields(defaults, config.place());
  ASSIGN_OR_RETURN(VisionTower tower,
                   ReadVisionTower(fields, "clip_vision_model", directories.model));
  spec.warnings.insert(spec.warnings.end(), tower.warnings.begin(), tower.warnings.end());
  VisionSpec& vision = tower.spec;
  vision.prefix = "vision_tower.vision_model.";
  const int64_t select =
      config.IntOr("vision_feature_layer", -2, -vision.layers - 1, vision.layers);
  vision.run_layers = static_cast<int>(select < 0 ? vision.layers + 1 + select : select);
  const std::string strategy = config.StringOr("vision_feature_select_strategy", "default");
  if (strategy != "default" && strategy != "full") {
    config.Refuse("vision_feature_select_strategy", "known are default and full");
  }
  vision.skip_rows = strategy == "default" ? 1 : 0;
  spec.vision = std::move(vision);
  spec.image_processor = tower.processor;
  spec.image_mode = ImageMode::kCrop;
  spec.upright_images = true;
  if (spec.image_rows() < 1) {
    config.Refuse("vision_feature_select_strategy", "leaves no rows of the tower");
  }
  return config.status();
}

void ReadProjector(JsonFields& config, ModelSpec& spec) {
  spec.projector.layers = {"multi_modal_projector.linear_1", "multi_modal_projector.linear_2"};
  spec.projector.activation = ReadActivation(config, "projector_hidden_act", Activation::kGeluErf);
  spec.projector.bias = config.BoolOr("multimodal_projector_bias", true);
}

}  // namespace

absl::StatusOr<ModelSpec> ReadLlavaHf(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  RETURN_IF_ERROR(ReadText(config, spec));
  RETURN_IF_ERROR(ReadTower(config, directories, spec));
  ReadProjector(config, spec);
  const std::string key = config.Has("image_token_id") ? "image_token_id" : "image_token_index";
  const int64_t token = config.IntOr(key, 32000, 0, 1 << 24);
  if (config.IntOr("image_token_index", token, 0, 1 << 24) != token) {
    config.Refuse("image_token_index", "contradicts \"image_token_id\"");
  }
  spec.image_token = static_cast<int32_t>(token);
  spec.prompt_format = PromptFormat::kLlavaHf;
  spec.stops_at_turn_end = false;
  spec.parts = {{directories.model, CanonicalNames()}};
  RETURN_IF_ERROR(config.status());
  return spec;
}

}  // namespace tessera
