// Qwen3-MoE (Qwen Team 2025, "Qwen3 Technical Report", arXiv:2505.09388): Llama's block with norms
// on each query and key head, and experts instead of the FFN, chosen by a softmax over all of them.
// Keys, defaults and tensor names as in transformers 4.57 (qwen3_moe).
#include <algorithm>

#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/qwen3_block.h"

namespace tessera {
namespace {

constexpr int kMaxExperts = 4096;
constexpr int kVocabulary = 151936;  // where no vocab_size says otherwise

// Which layers have experts: every decoder_sparse_step-th but those of mlp_only_layers.
void ReadExpertLayers(JsonFields& config, int experts, DecoderSpec& decoder) {
  const int64_t step = config.IntOr("decoder_sparse_step", 1, 1, 1000);
  std::vector<int64_t> dense;
  if (config.Has("mlp_only_layers")) dense = config.Ints("mlp_only_layers", 0, decoder.layers - 1);
  for (int layer = 0; layer < decoder.layers; ++layer) {
    const bool routed =
        (layer + 1) % step == 0 && std::find(dense.begin(), dense.end(), layer) == dense.end();
    decoder.experts.push_back(routed ? experts : 0);
  }
}

void ReadExperts(JsonFields& config, DecoderSpec& decoder) {
  // The key's name in transformers 5 and before.
  const std::string key = config.Has("num_local_experts") ? "num_local_experts" : "num_experts";
  const auto experts = static_cast<int>(config.Int(key, 0, kMaxExperts));
  if (config.IntOr("num_experts", experts, 0, kMaxExperts) != experts) {
    config.Refuse("num_experts", "contradicts \"num_local_experts\"");
  }
  ReadExpertLayers(config, experts, decoder);
  if (experts == 0) return;
  decoder.expert_ffn = static_cast<int>(config.Int("moe_intermediate_size", 1, kMaxSize));
  decoder.router.experts_per_token =
      static_cast<int>(config.Int("num_experts_per_tok", 1, experts));
}

DecoderNames Names() {
  DecoderNames names = LlamaNames();
  names.query_norm = "self_attn.q_norm";
  names.key_norm = "self_attn.k_norm";
  names.router = "mlp.gate";
  names.expert = "mlp.experts.{expert}.";
  names.fused_up = "mlp.experts.gate_up_proj";
  names.fused_down = "mlp.experts.down_proj";
  return names;
}

}  // namespace

void ReadQwen3Block(JsonFields& config, const RotaryFamily& rotary, int default_positions,
                    ModelSpec& spec) {
  DecoderSpec& decoder = spec.decoder;
  decoder.hidden = static_cast<int>(config.Int("hidden_size", 1, kMaxSize));
  decoder.layers = static_cast<int>(config.Int("num_hidden_layers", 1, 1000));
  decoder.heads = static_cast<int>(config.Int("num_attention_heads", 1, 1024));
  decoder.kv_heads = static_cast<int>(config.Int("num_key_value_heads", 1, decoder.heads));
  decoder.head_dim = static_cast<int>(
      config.IntOr("head_dim", decoder.hidden / std::max(1, decoder.heads), 2, 1024));
  if (decoder.heads % std::max(1, decoder.kv_heads) != 0) {
    config.Refuse("num_attention_heads", "must be a multiple of num_key_value_heads");
  }
  decoder.ffn = static_cast<int>(config.Int("intermediate_size", 1, kMaxSize));
  ReadVocabulary(config, kVocabulary, decoder);
  decoder.norm = NormKind::kRmsNorm;
  decoder.norm_bias = decoder.ffn_bias = false;
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("rms_norm_eps", 1e-6, 0, 1));
  decoder.qkv_bias = decoder.attention_out_bias = config.BoolOr("attention_bias", false);
  decoder.gated_ffn = true;
  ExpectActivation(config, "silu");
  ReadRotary(config, rotary, decoder);
  if (config.BoolOr("use_sliding_window", false)) {
    config.Refuse("use_sliding_window", "windows are not served for this architecture");
  }
  ReadExperts(config, decoder);
  decoder.names = Names();
  spec.max_context = ReadMaxPositions(config, default_positions);
}

absl::StatusOr<ModelSpec> ReadQwen3Moe(JsonFields& config, const ModelDirectories&) {
  ModelSpec spec;
  ReadQwen3Block(config, {}, 32768, spec);
  DecoderSpec& decoder = spec.decoder;
  decoder.router.renormalize = config.BoolOr("norm_topk_prob", false);
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  spec.prompt_format = PromptFormat::kQwen3Vl;
  spec.stops_at_turn_end = false;
  return spec;
}

}  // namespace tessera
