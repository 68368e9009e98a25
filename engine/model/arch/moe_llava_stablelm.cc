// MoE-LLaVA on StableLM-2: sequential blocks, LayerNorm with bias, biases on query, key and value only, SwiGLU, rotary on a part of
// each head. Its config keys are `norm_eps` and `rope_pct`.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/moe_llava.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr int kMaxSize = 1 << 20;

DecoderNames StableLmNames() {
  DecoderNames names;
  names.embedding = "model.embed_tokens";
  names.layer = "model.layers.{layer}.";
  names.attention_norm = "input_layernorm";
  names.ffn_norm = "post_attention_layernorm";
  names.qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  names.attention_out = "self_attn.o_proj";
  names.mlp = "mlp.";
  names.ffn_up = {"gate_proj", "up_proj"};
  names.ffn_down = "down_proj";
  names.final_norm = "model.norm";
  names.head = "lm_head";
  return names;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaStableLm(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  decoder.hidden = static_cast<int>(config.Int("hidden_size", 1, kMaxSize));
  decoder.layers = static_cast<int>(config.Int("num_hidden_layers", 1, 1000));
  decoder.heads = static_cast<int>(config.Int("num_attention_heads", 1, 1024));
  decoder.kv_heads =
      static_cast<int>(config.IntOr("num_key_value_heads", decoder.heads, 1, decoder.heads));
  decoder.ffn = static_cast<int>(config.Int("intermediate_size", 1, kMaxSize));
  if (decoder.hidden % decoder.heads != 0 || decoder.heads % decoder.kv_heads != 0) {
    config.Refuse("num_attention_heads",
                  "hidden_size must be a multiple of it, and it of num_key_value_heads");
  }
  decoder.head_dim = decoder.hidden / decoder.heads;
  decoder.vocabulary_rows = -1;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("norm_eps", 1e-5, 0, 1));
  decoder.qkv_bias = config.BoolOr("use_qkv_bias", true);
  decoder.attention_out_bias = false;
  decoder.ffn_bias = false;
  decoder.gated_ffn = true;
  if (const std::string act = config.StringOr("hidden_act", "silu"); act != "silu") {
    config.Refuse("hidden_act", "silu is the only one served for this architecture");
  }
  decoder.rotary_dims =
      static_cast<int>(config.NumberOr("rope_pct", 0.25, 0, 1) * decoder.head_dim) / 2 * 2;
  decoder.rope_theta = config.NumberOr("rope_theta", 10000, 1, 1e12);
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  decoder.names = StableLmNames();
  spec.max_context = static_cast<int>(config.IntOr("max_position_embeddings", 4096, 1, 1 << 24));
  spec.prompt_format = PromptFormat::kStableLm;
  RETURN_IF_ERROR(config.status());

  ReadMoe(config, spec);
  RETURN_IF_ERROR(ReadVision(config, directories.vision_tower, "model.", spec));
  return spec;
}

}  // namespace tessera
