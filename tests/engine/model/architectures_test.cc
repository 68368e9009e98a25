#include "engine/model/arch/architectures.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/config_reader.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::PublishedPhi;
using ArchitecturesTest = testing::ConfigReader;

TEST_F(ArchitecturesTest, PublishedPhiDecoder) {
  const auto spec = Read(PublishedPhi());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->architecture, "moe_llava_phi");
  const DecoderSpec& decoder = spec->decoder;
  EXPECT_EQ(decoder.hidden, 2560);
  EXPECT_EQ(decoder.layers, 32);
  EXPECT_EQ(decoder.heads, 32);
  EXPECT_EQ(decoder.kv_heads, 32);
  EXPECT_EQ(decoder.head_dim, 80);
  EXPECT_EQ(decoder.ffn, 10240);
  EXPECT_EQ(decoder.norm, NormKind::kLayerNorm);
  EXPECT_TRUE(decoder.norm_bias);
  EXPECT_FLOAT_EQ(decoder.norm_epsilon, 1e-5f);
  EXPECT_EQ(decoder.residual, ResidualLayout::kParallel);
  EXPECT_TRUE(decoder.qkv_bias && decoder.attention_out_bias && decoder.ffn_bias);
  EXPECT_FALSE(decoder.gated_ffn);
  EXPECT_EQ(decoder.activation, Activation::kGeluTanh);
  EXPECT_EQ(decoder.rotary_dims, 32);
  EXPECT_EQ(decoder.rope_theta, 10000);
  EXPECT_EQ(decoder.sliding_window, 0);
  EXPECT_FALSE(decoder.tied_head);
  EXPECT_EQ(spec->max_context, 2048);
  EXPECT_EQ(spec->prompt_format, PromptFormat::kPhi);
  EXPECT_TRUE(spec->warnings.empty()) << spec->warnings[0];
}

TEST_F(ArchitecturesTest, PublishedPhiExperts) {
  const ModelSpec spec = Read(PublishedPhi()).value();
  ASSERT_EQ(spec.decoder.experts.size(), 32u);
  for (size_t layer = 0; layer < 32; ++layer) {
    EXPECT_EQ(spec.decoder.experts[layer], layer % 2 == 0 ? 4 : 0);
  }
  EXPECT_EQ(spec.decoder.moe_layers(), 16);
  EXPECT_EQ(spec.decoder.max_experts(), 4);
  EXPECT_EQ(spec.decoder.router.experts_per_token, 2);
  EXPECT_EQ(spec.decoder.router.score, RouterScore::kSoftmax);
  EXPECT_TRUE(spec.decoder.router.renormalize);
}

TEST_F(ArchitecturesTest, PublishedPhiVision) {
  const ModelSpec spec = Read(PublishedPhi()).value();
  ASSERT_TRUE(spec.vision.has_value());
  const VisionSpec& vision = *spec.vision;
  EXPECT_EQ(vision.image_size, 336);
  EXPECT_EQ(vision.patch_size, 14);
  EXPECT_EQ(vision.hidden, 1024);
  EXPECT_EQ(vision.ffn, 4096);
  EXPECT_EQ(vision.heads, 16);
  EXPECT_EQ(vision.layers, 24);
  EXPECT_EQ(vision.run_layers, 23);
  EXPECT_EQ(vision.rows(), 577);
  EXPECT_EQ(vision.tokens(), 576);
  EXPECT_EQ(vision.activation, Activation::kQuickGelu);
  EXPECT_FLOAT_EQ(vision.norm_epsilon, 1e-5f);
  EXPECT_TRUE(vision.class_token && vision.embedding_norm);
  EXPECT_FALSE(vision.patch_bias);
  EXPECT_EQ(vision.prefix, "model.image_tower.image_tower.vision_model.");
  EXPECT_EQ(spec.image_processor.size, 336);
  EXPECT_EQ(spec.image_mode, ImageMode::kPad);
  EXPECT_EQ(spec.projector.layers,
            (std::vector<std::string>{"model.mm_projector.image_spatial_proj.0",
                                      "model.mm_projector.image_spatial_proj.2"}));
  EXPECT_EQ(spec.projector.activation, Activation::kGeluErf);
}

TEST_F(ArchitecturesTest, PublishedPhiTensorNames) {
  const DecoderNames names = Read(PublishedPhi()).value().decoder.names;
  EXPECT_EQ(names.embedding, "model.embed_tokens");
  EXPECT_EQ(names.head, "lm_head");
  EXPECT_EQ(names.final_norm, "model.final_layernorm");
  const std::string layer = ExpandName(names.layer, 12);
  EXPECT_EQ(layer + names.attention_norm, "model.layers.12.input_layernorm");
  EXPECT_EQ(names.ffn_norm, "");
  ASSERT_EQ(names.qkv.size(), 3u);
  EXPECT_EQ(layer + names.qkv[1], "model.layers.12.self_attn.k_proj");
  EXPECT_EQ(layer + names.attention_out, "model.layers.12.self_attn.dense");
  EXPECT_EQ(layer + names.mlp + names.ffn_up.at(0), "model.layers.12.mlp.fc1");
  EXPECT_EQ(layer + names.router, "model.layers.12.mlp.deepspeed_moe.gate.wg");
  EXPECT_EQ(ExpandName(names.layer + names.expert + names.ffn_down, 12, 3),
            "model.layers.12.mlp.deepspeed_moe.experts.deepspeed_experts.3.fc2");
}

TEST_F(ArchitecturesTest, DefaultsAreThoseOfTheConfigClass) {
  const json config = {{"model_type", "moe_llava_phi"},
                       {"hidden_size", 64},
                       {"num_hidden_layers", 3},
                       {"num_attention_heads", 4},
                       {"moe", {{"moe_enable", false}}}};
  const auto spec = Read(config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->decoder.kv_heads, 4);
  EXPECT_EQ(spec->decoder.ffn, 8192);
  EXPECT_EQ(spec->decoder.vocabulary_rows, 51200);
  EXPECT_EQ(spec->decoder.rotary_dims, 8);
  EXPECT_EQ(spec->max_context, 2048);
  EXPECT_EQ(spec->decoder.moe_layers(), 0) << "dense where it is not enabled";
  EXPECT_FALSE(spec->vision.has_value());
}

TEST_F(ArchitecturesTest, VariantsOfTheMoeObject) {
  json config = PublishedPhi();
  config["moe"]["num_experts"] = {8};  // one number for all
  EXPECT_EQ(Read(config).value().decoder.experts[30], 8);

  config = PublishedPhi();
  config["moe"]["top_k_experts"] = 1;
  EXPECT_FALSE(Read(config).value().decoder.router.renormalize) << "one choice keeps its weight";

  config = PublishedPhi();
  config["moe"]["moe_enable"] = false;
  EXPECT_EQ(Read(config).value().decoder.moe_layers(), 0);

  config = PublishedPhi();
  config["moe"]["eval_capacity_factor"] = 1.0;
  EXPECT_TRUE(Read(config).value().decoder.capacity.has_value());
  config["moe"]["eval_capacity_factor"] = 2.0;
  EXPECT_FALSE(Read(config).value().decoder.capacity.has_value()) << "nothing is dropped";
}

TEST_F(ArchitecturesTest, VariantsOfTheVisionKeys) {
  const struct {
    const char* key;
    json value;
    int run_layers, tokens;
    size_t projector_layers;
    ImageMode mode;
  } cases[] = {
      {"mm_vision_select_layer", -1, 24, 576, 2, ImageMode::kPad},
      {"mm_vision_select_layer", 20, 20, 576, 2, ImageMode::kPad},
      {"mm_vision_select_layer", -25, 0, 576, 2, ImageMode::kPad},
      {"mm_vision_select_feature", "cls_patch", 23, 577, 2, ImageMode::kPad},
      {"image_projector_type", "linear", 23, 576, 1, ImageMode::kPad},
      {"image_projector_type", "mlp1x_gelu", 23, 576, 1, ImageMode::kPad},
      {"image_projector_type", "mlp3x_gelu", 23, 576, 3, ImageMode::kPad},
      {"image_aspect_ratio", "square", 23, 576, 2, ImageMode::kCrop},
      {"image_aspect_ratio", nullptr, 23, 576, 2, ImageMode::kCrop},
  };
  for (const auto& test : cases) {
    json config = PublishedPhi();
    config[test.key] = test.value;
    const auto spec = Read(config);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->vision->run_layers, test.run_layers) << test.key << test.value;
    EXPECT_EQ(spec->vision->tokens(), test.tokens);
    EXPECT_EQ(spec->projector.layers.size(), test.projector_layers);
    EXPECT_EQ(spec->image_mode, test.mode);
  }
}

TEST_F(ArchitecturesTest, EveryFieldThatCannotBeServedIsNamed) {
  const struct {
    const char* object;  // "" for the config itself
    const char* key;
    json value;  // null removes a field
  } cases[] = {
      {"", "hidden_size", nullptr},
      {"", "hidden_size", 0},
      {"", "hidden_size", -2560},
      {"", "hidden_size", "2560"},
      {"", "hidden_size", 2560.5},
      {"", "hidden_size", int64_t{1} << 32},
      {"", "num_hidden_layers", nullptr},
      {"", "num_hidden_layers", 0},
      {"", "num_hidden_layers", 100000},
      {"", "num_attention_heads", nullptr},
      {"", "num_attention_heads", 0},
      {"", "num_attention_heads", 33},
      {"", "num_key_value_heads", 64},
      {"", "num_key_value_heads", 0},
      {"", "intermediate_size", 0},
      {"", "layer_norm_eps", -1},
      {"", "layer_norm_eps", "small"},
      {"", "hidden_act", "relu"},
      {"", "partial_rotary_factor", 1.5},
      {"", "partial_rotary_factor", -0.5},
      {"", "rope_theta", 0},
      {"", "rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
      {"", "qk_layernorm", true},
      {"", "tie_word_embeddings", "no"},
      {"", "max_position_embeddings", 0},
      {"", "moe", 7},
      {"", "moe", nullptr},
      {"", "mm_vision_select_layer", nullptr},
      {"", "moe", json::array()},
      {"moe", "moe_enable", "yes"},
      {"moe", "moe_layers_idx", nullptr},
      {"moe", "moe_layers_idx", {0, 32}},
      {"moe", "moe_layers_idx", {-1}},
      {"moe", "moe_layers_idx", 4},
      {"moe", "num_experts", nullptr},
      {"moe", "num_experts", {4, 4}},
      {"moe", "num_experts", {0}},
      {"moe", "num_experts", {1}},
      {"moe", "num_experts", {1 << 20}},
      {"moe", "top_k_experts", 3},
      {"moe", "top_k_experts", 0},
      {"moe", "use_residual", "yes"},
      {"moe", "eval_capacity_factor", "big"},
      {"", "mm_image_tower", 7},
      {"", "mm_vision_select_layer", 25},
      {"", "mm_vision_select_layer", -26},
      {"", "mm_vision_select_feature", "pool"},
      {"", "mm_hidden_size", 1152},
      {"", "image_projector_type", "resampler"},
      {"", "image_projector_type", "mlp0x_gelu"},
      {"", "image_projector_type", "mlp2x_relu"},
      {"", "image_projector_type", "mlpx_gelu"},
      {"", "image_projector_type", "mlp99999999999999999999x_gelu"},
      {"", "image_projector_type", ""},
      {"", "image_projector_type", "identity"},  // 1024 features for a model 2560 wide
      {"", "image_projector_type", "pool_"},
      {"", "image_projector_type", "pool_linear"},
      {"", "image_projector_type", "simple_in1_out1"},
      {"", "image_projector_type", "cheap_qformer2_36"},
      {"", "s2", "yes"},
      {"", "mm_use_im_start_end", true},
      {"", "image_aspect_ratio", 5},
      {"", "model_type", nullptr},
      {"", "model_type", 7},
  };
  for (const auto& test : cases) {
    json config = PublishedPhi();
    json& object = *test.object == '\0' ? config : config[test.object];
    if (test.value.is_null()) {
      object.erase(test.key);
    } else {
      object[test.key] = test.value;
    }
    const absl::Status status = Read(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.key << " " << test.value;
    const std::string_view message = StatusMessage(status);
    EXPECT_NE(message.find(config_path_.string()), std::string_view::npos) << message;
    EXPECT_NE(message.find(test.key), std::string_view::npos) << test.key << ": " << message;
  }
}

TEST_F(ArchitecturesTest, UnknownKindsListTheKnownOnes) {
  json config = PublishedPhi();
  config["model_type"] = "moe_llava_gpt9";
  const absl::Status status = Read(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(StatusMessage(status).find("\"moe_llava_gpt9\""), std::string_view::npos) << status;
  for (const Architecture& architecture : Architectures()) {
    EXPECT_NE(StatusMessage(status).find(architecture.model_type), std::string_view::npos);
  }
  config = PublishedPhi();
  config["mm_image_tower"] = "someone/tower";
  const absl::Status tower = Read(config).status();
  EXPECT_EQ(tower.code(), absl::StatusCode::kUnimplemented);
  for (const char* part :
       {"someone/tower", "openai/clip-vit-large-patch14-336", "--vision-tower"}) {
    EXPECT_NE(StatusMessage(tower).find(part), std::string_view::npos) << tower;
  }
}

TEST_F(ArchitecturesTest, TheTableIsReachedByEveryNameInIt) {
  EXPECT_FALSE(Architectures().empty());
  for (const Architecture& architecture : Architectures()) {
    const absl::Status status = Read({{"model_type", architecture.model_type}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << architecture.model_type << " must be found, its empty config refused: " << status;
  }
}

TEST_F(ArchitecturesTest, AConfigThatIsNoneIsNamed) {
  const absl::Status missing = ReadModelSpec({directory_.path()}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(missing).find(config_path_.string()), std::string_view::npos);
  for (const json& value : {json::array(), json(7), json(nullptr)}) {
    EXPECT_EQ(Read(value).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ModelSpecTest, NamesAreExpanded) {
  EXPECT_EQ(ExpandName("l.{layer}.e.{expert}.w", 3, 12), "l.3.e.12.w");
  EXPECT_EQ(ExpandName("l.{layer}.w", 3), "l.3.w");
  EXPECT_EQ(ExpandName("plain", 3, 4), "plain");
  EXPECT_EQ(DecoderSpec().max_experts(), 0);
}

}  // namespace
}  // namespace tessera
