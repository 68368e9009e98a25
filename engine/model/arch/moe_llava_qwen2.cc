// MoE-LLaVA and LLaVA-MoD on Qwen1.5 and Qwen2, which are one architecture: Llama's block with
// biases on query, key and value.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {
namespace {

// What Qwen2Config of transformers 4.37 has where config.json is silent and LlamaConfig has
// another.
nlohmann::json Defaults() {
  return {{"num_key_value_heads", 32}, {"max_position_embeddings", 32768}, {"vocab_size", 151936}};
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaQwen2(JsonFields& config,
                                            const ModelDirectories& directories) {
  ModelSpec spec;
  config.SetDefaults(Defaults());
  ReadLlamaBlock(config, spec);
  spec.decoder.qkv_bias = true;
  if (config.BoolOr("use_sliding_window", false)) {
    config.Refuse("use_sliding_window", "windows in some layers only are not served");
  }
  spec.prompt_format = PromptFormat::kQwen;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
