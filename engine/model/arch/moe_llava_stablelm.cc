// MoE-LLaVA on StableLM-2: Llama's layout with LayerNorm and its bias, biases on query, key and
// value, rotary on a part of each head. Its config keys are `norm_eps` and `rope_pct`.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {

absl::StatusOr<ModelSpec> ReadMoeLlavaStableLm(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  ReadLlamaBlock(config, spec);
  decoder.norm = NormKind::kLayerNorm;
  decoder.norm_bias = true;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("norm_eps", 1e-5, 0, 1));
  decoder.qkv_bias = config.BoolOr("use_qkv_bias", true);
  ReadRotary(config, config.NumberOr("rope_pct", 0.25, 0, 1), "rope_theta", decoder);
  spec.max_context = ReadMaxPositions(config, 4096);
  spec.prompt_format = PromptFormat::kStableLm;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
