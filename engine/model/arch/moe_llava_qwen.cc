// MoE-LLaVA on Qwen (the first): GPT-2's names, query, key and value in one matrix with a bias, a
// feed-forward half as wide as `intermediate_size` whose second matrix is the gate. Source:
// Qwen-1_8B's modeling_qwen.py as MoE-LLaVA carries it.
#include <algorithm>

#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"
#include "engine/model/rotary_config.h"

namespace tessera {
namespace {

// What QWenConfig has where config.json is silent.
constexpr int kVocabulary = 151936;
constexpr int kHeadDim = 128;

DecoderNames QwenNames() {
  DecoderNames names;
  names.embedding = "transformer.wte";
  names.layer = "transformer.h.{layer}.";
  names.attention_norm = "ln_1";
  names.ffn_norm = "ln_2";
  names.qkv = {"attn.c_attn"};
  names.attention_out = "attn.c_proj";
  names.mlp = "mlp.";
  names.ffn_up = {"w2", "w1"};  // c_proj(silu(w2 x) ⊙ w1 x)
  names.ffn_down = "c_proj";
  names.final_norm = "transformer.ln_f";
  names.head = "lm_head";
  return names;
}

// Beyond `seq_length` the reference stretches rotary positions and scales queries where the config
// says so: not served.
int ReadContext(JsonFields& config) {
  const int positions = ReadMaxPositions(config, 8192);
  const bool ntk = config.BoolOr("use_dynamic_ntk", true);
  const bool logn = config.BoolOr("use_logn_attn", true);
  const int trained = static_cast<int>(config.IntOr("seq_length", positions, 1, 1 << 20));
  return ntk || logn ? std::min(positions, trained) : positions;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaQwen(JsonFields& config,
                                           const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  ReadSizes(config, kVocabulary, decoder);
  if (decoder.kv_heads != decoder.heads) {
    config.Refuse("num_key_value_heads", "must be num_attention_heads in this architecture");
  }
  if (config.IntOr("kv_channels", kHeadDim, 1, kMaxSize) != decoder.head_dim) {
    config.Refuse("kv_channels", "must be hidden_size over num_attention_heads");
  }
  const int64_t both_ffn = config.Int("intermediate_size", 2, kMaxSize);
  if (both_ffn % 2 != 0) config.Refuse("intermediate_size", "must be even, that of two matrices");
  decoder.ffn = static_cast<int>(both_ffn / 2);
  decoder.norm = NormKind::kRmsNorm;
  decoder.norm_bias = false;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("layer_norm_epsilon", 1e-6, 0, 1));
  decoder.qkv_bias = true;
  decoder.attention_out_bias = decoder.ffn_bias = !config.BoolOr("no_bias", true);
  decoder.gated_ffn = true;
  if (!config.BoolOr("scale_attn_weights", true)) {
    config.Refuse("scale_attn_weights", "attention without its scale is not served");
  }
  RotaryFamily rotary;
  rotary.partial = true;
  rotary.theta_key = "rotary_emb_base";
  rotary.share_key = "rotary_pct";
  ReadRotary(config, rotary, decoder);
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  decoder.names = QwenNames();
  spec.max_context = ReadContext(config);
  spec.prompt_format = PromptFormat::kQwen;
  return WithExpertsAndVision(config, directories.vision_tower, "transformer.", std::move(spec));
}

}  // namespace tessera
