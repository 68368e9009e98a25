// MoE-LLaVA on StableLM-2: Llama's layout with LayerNorm and its bias, biases on query, key and
// value, rotary on a part of each head. Its config keys are `norm_eps` and `rope_pct`.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"
#include "engine/model/rotary_config.h"

namespace tessera {
namespace {

// What StableLMEpochConfig has where config.json is silent.
constexpr int kVocabulary = 50304;
constexpr double kRotaryShare = 0.25;
nlohmann::json Defaults() { return {{"num_key_value_heads", 32}}; }

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaStableLm(JsonFields& config,
                                               const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  config.SetDefaults(Defaults());
  ReadGatedBlock(config, kVocabulary, spec);
  decoder.norm = NormKind::kLayerNorm;
  decoder.norm_bias = true;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("norm_eps", 1e-5, 0, 1));
  decoder.qkv_bias = config.BoolOr("use_qkv_bias", true);
  RotaryFamily rotary;
  rotary.share = kRotaryShare;
  rotary.partial = true;
  rotary.share_key = "rope_pct";
  ReadRotary(config, rotary, decoder);
  spec.max_context = ReadMaxPositions(config, 4096);
  spec.prompt_format = PromptFormat::kStableLm;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
