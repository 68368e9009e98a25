// MoE-LLaVA on Llama and Vicuna.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {

absl::StatusOr<ModelSpec> ReadMoeLlavaLlama(JsonFields& config,
                                            const ModelDirectories& directories) {
  ModelSpec spec;
  ReadLlamaBlock(config, spec);
  spec.decoder.qkv_bias = spec.decoder.attention_out_bias = config.BoolOr("attention_bias", false);
  spec.prompt_format = PromptFormat::kVicunaV1;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
