// MoE-LLaVA on MiniCPM: Llama's block with scaled embeddings, residual branches and logits (Hu et
// al. 2024, arXiv:2404.06395, table "μP"), and by default one matrix for embedding and head.
#include <cmath>

#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {

absl::StatusOr<ModelSpec> ReadMoeLlavaMiniCpm(JsonFields& config,
                                              const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  ReadLlamaBlock(config, spec);
  decoder.qkv_bias = decoder.attention_out_bias = config.BoolOr("attention_bias", false);
  decoder.tied_head = config.BoolOr("tie_word_embeddings", true);
  const double base = config.NumberOr("dim_model_base", 1, 1e-6, kMaxSize);
  const double depth = config.NumberOr("scale_depth", 1, 0, 1e6);
  decoder.embedding_scale = static_cast<float>(config.NumberOr("scale_emb", 1, 0, 1e6));
  decoder.scale_prompts_with_images = false;
  decoder.branch_scale = static_cast<float>(depth / std::sqrt(decoder.layers));
  decoder.head_scale = static_cast<float>(base / decoder.hidden);
  spec.prompt_format = PromptFormat::kMiniCpm;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
