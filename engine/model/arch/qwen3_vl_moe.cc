// Qwen3-VL-MoE in its published layout (Qwen3VLMoeForConditionalGeneration of transformers 4.57):
// Qwen3-MoE's decoder under positions with three axes, and a vision encoder for images of any
// shape whose features enter at several depths.
#include <fmt/format.h>

#include <cmath>

#include "engine/base/status.h"
#include "engine/image/processor_config.h"
#include "engine/model/activation_name.h"
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/qwen3_block.h"
#include "engine/model/rotary_config.h"
#include "engine/model/unused_keys.h"

namespace tessera {
namespace {

RotaryFamily TextRotary() {
  RotaryFamily rotary;
  rotary.theta = std::nullopt;  // 5,000,000 in transformers 4.57, 500,000 in 5
  rotary.sections = {24, 20, 20};
  return rotary;
}

void ReadText(JsonFields& config, ModelSpec& spec) {
  JsonFields text = config.Object("text_config");
  if (text.StringOr("model_type", "qwen3_vl_moe_text") != "qwen3_vl_moe_text") {
    text.Refuse("model_type", "qwen3_vl_moe_text is the only one served");
  }
  ReadQwen3Block(text, TextRotary(), 128000, spec);
  spec.decoder.router.renormalize = true;  // whatever norm_topk_prob says
  config.Merge(text);
  spec.decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
}

VisionNames TowerNames() {
  VisionNames names;
  names.patch_embedding = "patch_embed.proj";
  names.position_embedding = "pos_embed";
  names.layer = "blocks.{layer}.";
  names.attention_norm = "norm1";
  names.qkv = {"attn.qkv"};
  names.attention_out = "attn.proj";
  names.ffn_norm = "norm2";
  names.ffn_up = "mlp.linear_fc1";
  names.ffn_down = "mlp.linear_fc2";
  names.unused = {};
  return names;
}

VisionSpec ReadTower(JsonFields& config, const NativeSize& size, int decoder_width,
                     int decoder_layers) {
  JsonFields vision = config.Object("vision_config");
  const std::string type = vision.StringOr("model_type", "qwen3_vl_moe_vision");
  if (type != "qwen3_vl_moe_vision" && type != "qwen3_vl_moe") {
    vision.Refuse("model_type", "qwen3_vl_moe_vision is the only one served");
  }
  VisionSpec spec;
  RotaryFamily rotary;
  rotary.type = "axial";
  spec.rope_theta = ReadRotary(vision, rotary).theta;
  spec.hidden = static_cast<int>(vision.IntOr("hidden_size", 1152, 1, kMaxSize));
  spec.ffn = static_cast<int>(vision.IntOr("intermediate_size", 4304, 1, kMaxSize));
  spec.heads = static_cast<int>(vision.IntOr("num_heads", 16, 1, 1024));
  spec.layers = spec.run_layers = static_cast<int>(vision.IntOr("depth", 27, 1, 1000));
  spec.activation = ReadActivation(vision, "hidden_act", Activation::kGeluTanh);
  spec.norm_epsilon = 1e-6f;
  spec.class_token = spec.embedding_norm = false;
  spec.patch_bias = true;
  spec.skip_rows = 0;
  spec.prefix = "visual.";
  spec.names = TowerNames();
  spec.native = size;
  spec.patch_size = static_cast<int>(vision.IntOr("patch_size", 16, 1, 256));
  const int64_t places = vision.IntOr("num_position_embeddings", 2304, 1, 1 << 20);
  spec.position_grid = static_cast<int>(std::lround(std::sqrt(places)));
  for (const int64_t layer : vision.Ints("deepstack_visual_indexes", 0, spec.layers - 1)) {
    spec.taps.push_back(static_cast<int>(layer));
  }
  const auto agrees = [&](const char* key, int64_t fallback, int64_t preprocessor) {
    if (vision.IntOr(key, fallback, 1, 1 << 16) != preprocessor) {
      vision.Refuse(key, fmt::format("the image processor has {}", preprocessor));
    }
  };
  agrees("patch_size", 16, size.patch_size);
  agrees("spatial_merge_size", 2, size.merge);
  agrees("temporal_patch_size", 2, size.frames);
  if (vision.IntOr("in_channels", 3, 1, 16) != 3) vision.Refuse("in_channels", "must be 3");
  if (int64_t{spec.position_grid} * spec.position_grid != places) {
    vision.Refuse("num_position_embeddings", "must be a square");
  }
  if (spec.hidden % (4 * spec.heads) != 0 || spec.hidden / spec.heads > 1024) {
    vision.Refuse("num_heads",
                  "hidden_size must be a multiple of four times it, at most 1024 times it");
  }
  if (vision.IntOr("out_hidden_size", 3584, 1, kMaxSize) != decoder_width) {
    vision.Refuse("out_hidden_size", "must be text_config's hidden_size");
  }
  if (static_cast<int>(spec.taps.size()) > decoder_layers) {
    vision.Refuse("deepstack_visual_indexes", "has more entries than there are decoder layers");
  }
  config.Merge(vision);
  return spec;
}

ProjectorSpec Merger(const std::string& prefix, bool norm_joined) {
  ProjectorSpec merger;
  merger.norm = prefix + "norm";
  merger.norm_joined = norm_joined;
  merger.layers = {prefix + "linear_fc1", prefix + "linear_fc2"};
  merger.wide = true;
  return merger;
}

absl::StatusOr<NativeProcessor> ReadProcessor(const std::filesystem::path& dir,
                                              std::vector<std::string>& warnings) {
  ASSIGN_OR_RETURN(const ProcessorConfig config, ReadProcessorConfig(dir, "Qwen3-VL"));
  auto processor = ParseNativeProcessor(config.settings);
  if (!processor.ok()) return Annotate(processor.status(), config.place);
  warnings.insert(warnings.end(), config.warnings.begin(), config.warnings.end());
  WarnOfUnread(JsonFields(config.settings, config.place), ProcessorKeys(), "qwen2_vl", warnings);
  return processor;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadQwen3VlMoe(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  ReadText(config, spec);
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(const NativeProcessor processor,
                   ReadProcessor(directories.model, spec.warnings));
  spec.image_processor = processor.colours;
  spec.upright_images = true;
  spec.vision = ReadTower(config, processor.size, spec.decoder.hidden, spec.decoder.layers);
  spec.projector = Merger("visual.merger.", /*norm_joined=*/false);
  for (size_t i = 0; i < spec.vision->taps.size(); ++i) {
    spec.tap_projectors.push_back(
        Merger("visual.deepstack_merger_list." + std::to_string(i) + ".", /*norm_joined=*/true));
  }
  spec.image_token = static_cast<int32_t>(config.IntOr("image_token_id", 151655, 0, 1 << 24));
  spec.prompt_format = PromptFormat::kQwen3Vl;
  spec.stops_at_turn_end = false;
  // Published names, and those of before transformers 4.52.
  spec.parts = {
      {directories.model, {{"model.language_model.", "model."}, {"model.visual.", "visual."}}}};
  RETURN_IF_ERROR(config.status());
  return spec;
}

}  // namespace tessera
