// MoE-LLaVA on Phi-2: parallel blocks with one LayerNorm, biases everywhere but the head, partial
// rotary, two-matrix FFN.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"
#include "engine/model/rotary_config.h"

namespace tessera {
namespace {

// What PhiConfig has where config.json is silent.
constexpr int kVocabulary = 51200;
constexpr int kFfn = 8192;
constexpr double kRotaryShare = 0.5;

DecoderNames PhiNames() {
  DecoderNames names = LlamaNames();
  names.ffn_norm = "";
  names.attention_out = "self_attn.dense";
  names.ffn_up = {"fc1"};
  names.ffn_down = "fc2";
  names.final_norm = "model.final_layernorm";
  return names;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaPhi(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  DecoderSpec& decoder = spec.decoder;
  ReadSizes(config, kVocabulary, decoder);
  decoder.ffn = static_cast<int>(config.IntOr("intermediate_size", kFfn, 1, kMaxSize));
  decoder.norm_epsilon = static_cast<float>(config.NumberOr("layer_norm_eps", 1e-5, 0, 1));
  decoder.residual = ResidualLayout::kParallel;
  decoder.activation = Activation::kGeluTanh;
  ExpectActivation(config, "gelu_new");
  RotaryFamily rotary;
  rotary.share = kRotaryShare;
  rotary.partial = true;
  ReadRotary(config, rotary, decoder);
  if (config.BoolOr("qk_layernorm", false)) {
    config.Refuse("qk_layernorm", "query and key norms are not served");
  }
  decoder.tied_head = config.BoolOr("tie_word_embeddings", false);
  decoder.names = PhiNames();
  spec.max_context = ReadMaxPositions(config, 2048);
  spec.prompt_format = PromptFormat::kPhi;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
