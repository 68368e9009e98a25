// MoE-LLaVA on Phi-2: parallel blocks with one LayerNorm, biases everywhere but the head, partial rotary, two-matrix FFN.
#include <fmt/format.h>

#include <cmath>

#include "engine/model/arch/arch.h"
#include "engine/model/arch/moe_llava.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr int kMaxSize = 1 << 20;

DecoderNames PhiNames() {
  DecoderNames names;
  names.embedding = "model.embed_tokens";
  names.layer = "model.layers.{layer}.";
  names.attention_norm = "input_layernorm";
  names.qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  names.attention_out = "self_attn.dense";
  names.mlp = "mlp.";
  names.ffn_up = {"fc1"};
  names.ffn_down = "fc2";
  names.final_norm = "model.final_layernorm";
  names.head = "lm_head";
  return names;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaPhi(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  decoder.hidden = static_cast<int>(config.Int("hidden_size", 1, kMaxSize));
  decoder.layers = static_cast<int>(config.Int("num_hidden_layers", 1, 1000));
  decoder.heads = static_cast<int>(config.Int("num_attention_heads", 1, 1024));
  decoder.kv_heads =
      static_cast<int>(config.IntOr("num_key_value_heads", decoder.heads, 1, decoder.heads));
  decoder.ffn = static_cast<int>(config.IntOr("intermediate_size", 4 * decoder.hidden, 1, kMaxSize));
  if (decoder.hidden % decoder.heads != 0 || decoder.heads % decoder.kv_heads != 0) {
    config.Refuse("num_attention_heads",
                  "hidden_size must be a multiple of it, and it of num_key_value_heads");
  }
  decoder.head_dim = decoder.hidden / decoder.heads;
  decoder.vocabulary_rows = -1;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("layer_norm_eps", 1e-5, 0, 1));
  decoder.residual = ResidualLayout::kParallel;
  decoder.activation = Activation::kGeluTanh;
  if (const std::string act = config.StringOr("hidden_act", "gelu_new"); act != "gelu_new") {
    config.Refuse("hidden_act", "gelu_new is the only one served for this architecture");
  }
  const double partial = config.NumberOr("partial_rotary_factor", 0.5, 0, 1);
  decoder.rotary_dims = static_cast<int>(partial * decoder.head_dim) / 2 * 2;
  decoder.rope_theta = config.NumberOr("rope_theta", 10000, 1, 1e12);
  if (config.Has("rope_scaling")) config.Refuse("rope_scaling", "scaled rotary positions are not served");
  if (config.BoolOr("qk_layernorm", false)) config.Refuse("qk_layernorm", "query and key norms are not served");
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  decoder.names = PhiNames();
  spec.max_context = static_cast<int>(config.IntOr("max_position_embeddings", 2048, 1, 1 << 24));
  spec.prompt_format = PromptFormat::kPhi;
  RETURN_IF_ERROR(config.status());

  ReadMoe(config, spec);
  RETURN_IF_ERROR(ReadVision(config, directories.vision_tower, "model.", spec));
  return spec;
}

}  // namespace tessera
