// config.json of every backbone of MoE-LLaVA and LLaVA-MoD, with the published sizes, as a
// ModelSpec.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

json Config(const char* model_type, const char* keys) {
  json config = json::parse(keys);
  config["model_type"] = model_type;
  config["mm_image_tower"] = "openai/clip-vit-large-patch14-336";
  config["mm_hidden_size"] = 1024;
  config["mm_vision_select_layer"] = -2;
  config["image_projector_type"] = "mlp2x_gelu";
  json& moe = config["moe"] = {{"eval_capacity_factor", 2.0}, {"min_capacity", 0}};
  for (int layer = 0; layer < config["num_hidden_layers"]; layer += 2) {
    moe["moe_layers_idx"].push_back(layer);
    moe["num_experts"].push_back(4);
  }
  return config;
}

json Qwen() {
  return Config("moe_llava_qwen", R"({"hidden_size": 2048, "num_hidden_layers": 24,
    "num_attention_heads": 16, "kv_channels": 128, "intermediate_size": 11008,
    "layer_norm_epsilon": 1e-06, "rotary_pct": 1.0, "rotary_emb_base": 10000, "no_bias": true,
    "scale_attn_weights": true, "seq_length": 8192, "max_position_embeddings": 8192,
    "use_dynamic_ntk": true, "use_logn_attn": true, "tie_word_embeddings": false})");
}

json OpenChat() {
  return Config("moe_llava_mistral", R"({"hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "hidden_act": "silu",
    "max_position_embeddings": 8192, "eos_token_id": 32000, "tie_word_embeddings": false})");
}

json MiniCpm() {
  return Config("moe_llava_minicpm", R"({"hidden_size": 2304, "num_hidden_layers": 40,
    "num_attention_heads": 36, "num_key_value_heads": 36, "intermediate_size": 5760,
    "rms_norm_eps": 1e-05, "hidden_act": "silu", "max_position_embeddings": 4096,
    "scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4, "rope_scaling": null})");
}

json Vicuna() {
  return Config("moe_llava_llama", R"({"hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "intermediate_size": 11008, "rms_norm_eps": 1e-05,
    "hidden_act": "silu", "max_position_embeddings": 4096})");
}

json Qwen2() {
  return Config("moe_llava_qwen2", R"({"hidden_size": 896, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
    "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "hidden_act": "silu",
    "max_position_embeddings": 131072, "sliding_window": 131072, "use_sliding_window": false,
    "max_window_layers": 24, "tie_word_embeddings": true})");
}

class BackbonesTest : public ::testing::Test {
 protected:
  absl::StatusOr<ModelSpec> Read(const json& config) const {
    testing::WriteFile(directory_.path() / "config.json", config.dump());
    return ReadModelSpec({directory_.path()});
  }
  ModelSpec Spec(const json& config) const {
    const auto spec = Read(config);
    EXPECT_TRUE(spec.ok()) << spec.status();
    return spec.ok() ? *spec : ModelSpec();
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(BackbonesTest, Sizes) {
  const struct {
    json config;
    int heads, kv_heads, head_dim, ffn, context;
    float epsilon;
    double theta;
    PromptFormat prompt;
  } cases[] = {
      {Qwen(), 16, 16, 128, 5504, 8192, 1e-6f, 1e4, PromptFormat::kQwen},
      {OpenChat(), 32, 8, 128, 14336, 8192, 1e-5f, 1e4, PromptFormat::kOpenChat},
      {MiniCpm(), 36, 36, 64, 5760, 4096, 1e-5f, 1e4, PromptFormat::kMiniCpm},
      {Vicuna(), 32, 32, 128, 11008, 4096, 1e-5f, 1e4, PromptFormat::kVicunaV1},
      {Qwen2(), 14, 2, 64, 4864, 131072, 1e-6f, 1e6, PromptFormat::kQwen},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.config["model_type"]);
    const ModelSpec spec = Spec(test.config);
    const DecoderSpec& decoder = spec.decoder;
    EXPECT_EQ(decoder.heads, test.heads);
    EXPECT_EQ(decoder.kv_heads, test.kv_heads);
    EXPECT_EQ(decoder.head_dim, test.head_dim);
    EXPECT_EQ(decoder.rotary_dims, test.head_dim);
    EXPECT_EQ(decoder.ffn, test.ffn);
    EXPECT_EQ(decoder.rope_theta, test.theta);
    EXPECT_EQ(decoder.norm, NormKind::kRmsNorm);
    EXPECT_FALSE(decoder.norm_bias || decoder.attention_out_bias || decoder.ffn_bias);
    EXPECT_FLOAT_EQ(decoder.norm_epsilon, test.epsilon);
    EXPECT_TRUE(decoder.gated_ffn);
    EXPECT_EQ(decoder.activation, Activation::kSilu);
    EXPECT_EQ(decoder.residual, ResidualLayout::kSequential);
    EXPECT_EQ(decoder.moe_layers(), decoder.layers / 2);
    EXPECT_FALSE(decoder.capacity.has_value()) << "published checkpoints drop nothing";
    EXPECT_EQ(spec.max_context, test.context);
    EXPECT_EQ(spec.prompt_format, test.prompt);
    EXPECT_TRUE(spec.vision.has_value());
  }
}

TEST_F(BackbonesTest, WhatIsEachOnesOwn) {
  EXPECT_TRUE(Spec(Qwen()).decoder.qkv_bias);
  EXPECT_TRUE(Spec(Qwen2()).decoder.qkv_bias);
  EXPECT_FALSE(Spec(OpenChat()).decoder.qkv_bias);
  EXPECT_FALSE(Spec(Vicuna()).decoder.qkv_bias);
  EXPECT_TRUE(Spec(Qwen2()).decoder.tied_head);
  EXPECT_TRUE(Spec(MiniCpm()).decoder.tied_head) << "unless its config says otherwise";
  EXPECT_FALSE(Spec(Vicuna()).decoder.tied_head);
  EXPECT_EQ(Spec(OpenChat()).decoder.sliding_window, 4096);
  EXPECT_EQ(Spec(Qwen2()).decoder.sliding_window, 0);
  const DecoderSpec minicpm = Spec(MiniCpm()).decoder;
  EXPECT_EQ(minicpm.embedding_scale, 12);
  EXPECT_FALSE(minicpm.scale_prompts_with_images);
  EXPECT_FLOAT_EQ(minicpm.branch_scale, 0.22135944f);  // 1.4 / √40
  EXPECT_FLOAT_EQ(minicpm.head_scale, 1.0f / 9);
  json qwen1_5 = Qwen2();
  qwen1_5["model_type"] = "moe_llava_qwen1_5";
  EXPECT_TRUE(Spec(qwen1_5).decoder.qkv_bias);
}

TEST_F(BackbonesTest, QwensNames) {
  const ModelSpec spec = Spec(Qwen());
  const DecoderNames& names = spec.decoder.names;
  EXPECT_EQ(names.embedding, "transformer.wte");
  EXPECT_EQ(ExpandName(names.layer, 3) + names.qkv.at(0), "transformer.h.3.attn.c_attn");
  EXPECT_EQ(names.qkv.size(), 1u);
  EXPECT_EQ(names.ffn_up, (std::vector<std::string>{"w2", "w1"})) << "the gate first";
  EXPECT_EQ(ExpandName(names.layer + names.expert + names.ffn_down, 4, 1),
            "transformer.h.4.mlp.deepspeed_moe.experts.deepspeed_experts.1.c_proj");
  EXPECT_EQ(spec.vision->prefix, "transformer.image_tower.image_tower.vision_model.");
  EXPECT_EQ(spec.projector.layers.at(1), "transformer.mm_projector.image_spatial_proj.2");
}

TEST_F(BackbonesTest, ContextEndsWhereQwenWouldStretchIt) {
  json config = Qwen();
  config["seq_length"] = 2048;
  EXPECT_EQ(Spec(config).max_context, 2048);
  config["use_dynamic_ntk"] = config["use_logn_attn"] = false;
  EXPECT_EQ(Spec(config).max_context, 8192);
}

TEST_F(BackbonesTest, MistralsOwnEndTokenMeansItsOwnTemplate) {
  json config = OpenChat();
  config["eos_token_id"] = 2;
  EXPECT_EQ(Spec(config).prompt_format, PromptFormat::kMistral);
  config.erase("eos_token_id");
  EXPECT_EQ(Spec(config).prompt_format, PromptFormat::kMistral);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(Spec(config).decoder.sliding_window, 0);
  config.erase("sliding_window");
  EXPECT_EQ(Spec(config).decoder.sliding_window, 4096) << "Mistral's default";
}

TEST_F(BackbonesTest, ResidualExpertsAndCapacity) {
  json config = Qwen2();
  config["moe"]["use_residual"] = true;
  config["moe"]["eval_capacity_factor"] = 1.5;
  config["moe"]["min_capacity"] = 7;
  const DecoderSpec decoder = Spec(config).decoder;
  EXPECT_TRUE(decoder.residual_experts);
  ASSERT_TRUE(decoder.capacity.has_value());
  EXPECT_EQ(decoder.capacity->factor, 1.5);
  EXPECT_EQ(decoder.capacity->minimum, 7);
  EXPECT_EQ(ExpandName(decoder.names.layer, 2) + decoder.names.residual_mix,
            "model.layers.2.mlp.coefficient");
}

TEST_F(BackbonesTest, EveryFieldThatCannotBeServedIsNamed) {
  const struct {
    json config;
    const char* key;
    json value;
  } cases[] = {
      {Qwen(), "kv_channels", 64},
      {Qwen(), "intermediate_size", 1},
      {Qwen(), "scale_attn_weights", false},
      {Qwen(), "rotary_pct", 2},
      {Qwen(), "rotary_emb_base", 0},
      {Qwen(), "seq_length", 0},
      {Qwen(), "no_bias", 1},
      {OpenChat(), "sliding_window", -1},
      {OpenChat(), "num_key_value_heads", 5},
      {OpenChat(), "hidden_act", "gelu"},
      {OpenChat(), "rope_scaling", {{"type", "linear"}}},
      {MiniCpm(), "scale_emb", "12"},
      {MiniCpm(), "scale_depth", -1},
      {MiniCpm(), "dim_model_base", 0},
      {MiniCpm(), "attention_bias", 7},
      {Vicuna(), "rms_norm_eps", 2},
      {Vicuna(), "intermediate_size", nullptr},
      {Vicuna(), "max_position_embeddings", 1 << 21},
      {Qwen2(), "use_sliding_window", true},
      {Qwen2(), "tie_word_embeddings", "yes"},
      {Qwen2(), "num_attention_heads", 13},
  };
  for (const auto& test : cases) {
    json config = test.config;
    if (test.value.is_null()) {
      config.erase(test.key);
    } else {
      config[test.key] = test.value;
    }
    const absl::Status status = Read(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.key << test.value;
    EXPECT_NE(StatusMessage(status).find(test.key), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
