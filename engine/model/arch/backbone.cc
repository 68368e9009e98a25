#include "engine/model/arch/backbone.h"

#include <fmt/format.h>

#include "engine/model/rotary_config.h"

namespace tessera {

namespace {

constexpr int kLlamaVocabulary = 32000;

}  // namespace

void ReadVocabulary(JsonFields& config, int otherwise, DecoderSpec& decoder) {
  decoder.vocabulary_rows = static_cast<int>(config.IntOr("vocab_size", otherwise, 1, 1 << 24));
}

void ReadSizes(JsonFields& config, int vocabulary, DecoderSpec& decoder) {
  decoder.hidden = static_cast<int>(config.Int("hidden_size", 1, kMaxSize));
  decoder.layers = static_cast<int>(config.Int("num_hidden_layers", 1, 1000));
  decoder.heads = static_cast<int>(config.Int("num_attention_heads", 1, 1024));
  decoder.kv_heads =
      static_cast<int>(config.IntOr("num_key_value_heads", decoder.heads, 1, decoder.heads));
  if (decoder.hidden % decoder.heads != 0 || decoder.heads % decoder.kv_heads != 0) {
    config.Refuse("num_attention_heads",
                  "hidden_size must be a multiple of it, and it of num_key_value_heads");
  }
  decoder.head_dim = decoder.hidden / decoder.heads;
  if (config.IntOr("head_dim", decoder.head_dim, 1, kMaxSize) != decoder.head_dim) {
    config.Refuse("head_dim", "must be hidden_size / num_attention_heads");
  }
  ReadVocabulary(config, vocabulary, decoder);
}

void ExpectActivation(JsonFields& config, const std::string& served) {
  if (config.StringOr("hidden_act", served) != served) {
    config.Refuse("hidden_act",
                  fmt::format("{} is the only one served for this architecture", served));
  }
}

int ReadMaxPositions(JsonFields& config, int fallback) {
  return static_cast<int>(config.IntOr("max_position_embeddings", fallback, 1, 1 << 20));
}

DecoderNames LlamaNames() {
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

void ReadGatedBlock(JsonFields& config, int vocabulary, ModelSpec& spec) {
  DecoderSpec& decoder = spec.decoder;
  ReadSizes(config, vocabulary, decoder);
  decoder.ffn = static_cast<int>(config.Int("intermediate_size", 1, kMaxSize));
  decoder.qkv_bias = false;
  decoder.attention_out_bias = false;
  decoder.ffn_bias = false;
  decoder.gated_ffn = true;
  ExpectActivation(config, "silu");
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  decoder.names = LlamaNames();
}

void ReadLlamaBiases(JsonFields& config, DecoderSpec& decoder) {
  decoder.qkv_bias = decoder.attention_out_bias = config.BoolOr("attention_bias", false);
  decoder.ffn_bias = config.BoolOr("mlp_bias", false);
}

void ReadLlamaBlock(JsonFields& config, ModelSpec& spec) {
  DecoderSpec& decoder = spec.decoder;
  ReadGatedBlock(config, kLlamaVocabulary, spec);
  decoder.norm = NormKind::kRmsNorm;
  decoder.norm_bias = false;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("rms_norm_eps", 1e-6, 0, 1));
  ReadRotary(config, {}, decoder);
  spec.max_context = ReadMaxPositions(config, 2048);
}

}  // namespace tessera
