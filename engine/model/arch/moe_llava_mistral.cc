// MoE-LLaVA on Mistral and on OpenChat, which is a Mistral whose answers end with a token of their
// own: grouped queries, and a window of keys that a prompt's rows see.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {
namespace {

constexpr int kMistralEndId = 2;  // </s>

// What MistralConfig of transformers 4.34 has where config.json is silent and LlamaConfig has
// another.
nlohmann::json Defaults() {
  return {
      {"num_key_value_heads", 8}, {"max_position_embeddings", 131072}, {"sliding_window", 4096}};
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaMistral(JsonFields& config,
                                              const ModelDirectories& directories) {
  ModelSpec spec;
  config.SetDefaults(Defaults());
  ReadLlamaBlock(config, spec);
  spec.decoder.sliding_window =
      static_cast<int>(config.IntOr("sliding_window", 0, 0, 1 << 30));  // null: none
  const bool own_end =
      config.Has("eos_token_id") && config.object().at("eos_token_id") != kMistralEndId;
  spec.prompt_format = own_end ? PromptFormat::kOpenChat : PromptFormat::kMistral;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
