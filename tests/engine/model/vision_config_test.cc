// How a config.json describes its vision tower, projector and scales, with and without the tower's
// own directory.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/config_reader.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::PublishedPhi;
using VisionConfigTest = testing::ConfigReader;

json ClipConfig() {
  return json::parse(R"({"model_type": "clip_vision_model", "hidden_size": 64, "image_size": 56,
    "patch_size": 14, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 4,
    "layer_norm_eps": 1e-06, "hidden_act": "quick_gelu", "num_channels": 3})");
}

json SiglipConfig() {
  return json::parse(R"({"model_type": "siglip_vision_model", "hidden_size": 72, "image_size": 58,
    "patch_size": 14, "intermediate_size": 110, "num_attention_heads": 4, "num_hidden_layers": 4})");
}

json SiglipProcessor() {
  return json::parse(R"({"do_normalize": true, "do_rescale": true, "do_resize": true,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3,
    "image_processor_type": "SiglipImageProcessor", "size": {"height": 58, "width": 58}})");
}

json ClipProcessor() {
  return json::parse(R"({"crop_size": {"height": 56, "width": 56}, "do_center_crop": true,
    "do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.25, 0.125],
    "image_std": [0.5, 0.5, 0.5], "image_processor_type": "CLIPImageProcessor", "resample": 3,
    "size": {"shortest_edge": 56}})");
}

TEST_F(VisionConfigTest, ATowersDirectoryGivesItsGeometry) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 64;
  for (const bool nested : {false, true}) {  // a vision model's config, a whole CLIP's
    json tower = ClipConfig();
    if (nested) {
      tower.erase("model_type");
      tower = {{"model_type", "clip"}, {"vision_config", tower}};
    }
    const auto spec = ReadWithTower(config, tower, ClipProcessor());
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->vision->hidden, 64);
    EXPECT_EQ(spec->vision->layers, 4);
    EXPECT_EQ(spec->vision->run_layers, 3);
    EXPECT_EQ(spec->vision->tokens(), 16);
    EXPECT_FLOAT_EQ(spec->vision->norm_epsilon, 1e-6f);
    EXPECT_EQ(spec->image_processor.size, 56);
    EXPECT_FLOAT_EQ(spec->image_processor.mean[1], 0.25f);
  }
}

TEST_F(VisionConfigTest, PublishedSiglip) {
  json config = PublishedPhi();
  config["mm_image_tower"] = "google/siglip-so400m-patch14-384";
  config["mm_hidden_size"] = 1152;
  const auto spec = Read(config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const VisionSpec& vision = *spec->vision;
  EXPECT_EQ(vision.hidden, 1152);
  EXPECT_EQ(vision.ffn, 4304);
  EXPECT_EQ(vision.heads, 16);
  EXPECT_EQ(vision.layers, 27);
  EXPECT_EQ(vision.run_layers, 26);
  EXPECT_EQ(vision.patches(), 729) << "27 whole patches of 14 in 384 pixels";
  EXPECT_EQ(vision.rows(), 729);
  EXPECT_EQ(spec->image_rows(), 728) << "models were trained without the first patch";
  EXPECT_EQ(vision.activation, Activation::kGeluTanh);
  EXPECT_FLOAT_EQ(vision.norm_epsilon, 1e-6f);
  EXPECT_FALSE(vision.class_token || vision.embedding_norm);
  EXPECT_TRUE(vision.patch_bias);
  EXPECT_EQ(spec->image_processor.size, 384);
  EXPECT_EQ(spec->image_processor.pad_colour, (std::array<uint8_t, 3>{127, 127, 127}));
  EXPECT_EQ(spec->image_processor.unpadded, ImageMode::kStretch);
}

TEST_F(VisionConfigTest, ASiglipDirectory) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 72;
  for (const bool nested : {false, true}) {
    json tower = SiglipConfig();
    if (nested) {
      tower.erase("model_type");
      tower = {{"model_type", "siglip"}, {"vision_config", tower}};
    }
    const auto spec = ReadWithTower(config, tower, SiglipProcessor());
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->vision->patches(), 16);
    EXPECT_EQ(spec->image_rows(), 15);
    EXPECT_EQ(spec->vision->activation, Activation::kGeluTanh);
    EXPECT_FLOAT_EQ(spec->vision->norm_epsilon, 1e-6f);
    EXPECT_FALSE(spec->vision->class_token);
    EXPECT_EQ(spec->image_processor.unpadded, ImageMode::kStretch);
  }
}

// The authors' code takes SigLIP's processor for a SigLIP tower, whether its file says so or not.
TEST_F(VisionConfigTest, ATowersProcessorIsItsFamilys) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 72;
  json processor = SiglipProcessor();
  processor["unknown"] = 1;
  const auto named = ReadWithTower(config, SiglipConfig(), processor);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->warnings.size(), 1u) << "told once";
  processor.erase("image_processor_type");
  const auto unnamed = ReadWithTower(config, SiglipConfig(), processor);
  ASSERT_TRUE(unnamed.ok()) << unnamed.status();
  EXPECT_EQ(unnamed->image_processor, named->image_processor);
  processor["image_processor_type"] = "CLIPImageProcessor";
  const absl::Status other = ReadWithTower(config, SiglipConfig(), processor).status();
  EXPECT_NE(StatusMessage(other).find("names CLIP's image processor"), std::string::npos) << other;
}

// What OpenAI published: integer sizes, no image_processor_type, no do_rescale.
TEST_F(VisionConfigTest, AnOldPreprocessorConfig) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 64;
  const json processor = json::parse(R"({"crop_size": 56, "do_center_crop": true,
    "do_normalize": true, "do_resize": true, "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 56})");
  const auto spec = ReadWithTower(config, ClipConfig(), processor);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->image_processor.size, 56);
  EXPECT_EQ(spec->image_processor.pad_colour, (std::array<uint8_t, 3>{122, 116, 104}));
}

TEST_F(VisionConfigTest, ATowersActivationIsRead) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 64;
  const std::pair<const char*, Activation> cases[] = {
      {"gelu", Activation::kGeluErf},
      {"quick_gelu", Activation::kQuickGelu},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
  };
  for (const auto& [name, activation] : cases) {
    json tower = ClipConfig();
    tower["hidden_act"] = name;
    const auto spec = ReadWithTower(config, tower, ClipProcessor());
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->vision->activation, activation);
  }
}

TEST_F(VisionConfigTest, APooledProjectorTakesAQuarterOfTheRows) {
  json config = PublishedPhi();
  config["image_projector_type"] = "pool_mlp2x_gelu";
  const auto spec = Read(config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->projector.pool, 2);
  EXPECT_EQ(spec->image_rows(), 144);
  EXPECT_EQ(spec->projector.layers,
            (std::vector<std::string>{"model.mm_projector.image_spatial_proj.block.0",
                                      "model.mm_projector.image_spatial_proj.block.2"}));
  config["mm_image_tower"] = "google/siglip-so400m-patch14-384";
  config["mm_hidden_size"] = 1152;
  const absl::Status odd = Read(config).status();
  EXPECT_NE(StatusMessage(odd).find("728 tokens"), std::string_view::npos) << odd;
}

TEST_F(VisionConfigTest, AnIdentityProjectorNeedsEqualWidths) {
  json config = PublishedPhi();
  config["hidden_size"] = 1024;
  config["image_projector_type"] = "identity";
  const auto spec = Read(config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->projector.layers.empty());
}

TEST_F(VisionConfigTest, ScalesWidenTheFeatures) {
  json config = PublishedPhi();
  config["s2"] = true;
  config["mm_hidden_size"] = 2048;
  EXPECT_EQ(Read(config).value().vision->scales, (std::vector<int>{1, 2})) << "by default 336,672";

  config["s2_scales"] = "1008, 336,672";
  config["mm_hidden_size"] = 3072;
  const auto spec = Read(config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->vision->scales, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(spec->vision->views(), 14);
  EXPECT_EQ(spec->image_processor.size, 1008);
  EXPECT_EQ(spec->image_rows(), 576);

  config["s2"] = false;
  config["mm_hidden_size"] = 1024;
  EXPECT_EQ(Read(config).value().vision->scales, std::vector<int>{1});
}

TEST_F(VisionConfigTest, ScalesThatCannotBeAreNamed) {
  for (const char* scales : {"", "336,", ",336", "672", "336,500", "336;672", "336,-672", "0,336",
                             "a", "336,672,x", "336,99999999999999999999", "336,4368"}) {
    json config = PublishedPhi();
    config["s2"] = true;
    config["s2_scales"] = scales;
    const absl::Status status = Read(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << scales;
    EXPECT_NE(StatusMessage(status).find("s2_scales"), std::string_view::npos) << status;
  }
  json config = PublishedPhi();
  config["s2"] = true;
  config["mm_vision_select_feature"] = "cls_patch";
  const absl::Status status = Read(config).status();
  EXPECT_NE(StatusMessage(status).find("mm_vision_select_feature"), std::string_view::npos);
}

TEST_F(VisionConfigTest, OnlyTowersWithAClassTokenHaveScales) {
  json config = PublishedPhi();
  config["s2"] = true;
  config["mm_hidden_size"] = 72;
  const auto spec = ReadWithTower(config, SiglipConfig(), SiglipProcessor());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->vision->scales, std::vector<int>{1});
  ASSERT_EQ(spec->warnings.size(), 1u);
  EXPECT_NE(spec->warnings[0].find("s2"), std::string::npos);
}

TEST_F(VisionConfigTest, WhatATowerCannotBeIsNamed) {
  json config = PublishedPhi();
  config["mm_hidden_size"] = 64;
  const std::pair<const char*, json> cases[] = {
      {"model_type", "resnet"},   {"hidden_act", "relu"},     {"num_channels", 1},
      {"image_size", 0},          {"patch_size", 57},         {"num_attention_heads", 5},
      {"num_attention_heads", 0}, {"num_hidden_layers", "4"}, {"hidden_size", -64},
  };
  for (const auto& [key, value] : cases) {
    json tower = ClipConfig();
    tower[key] = value;
    const absl::Status status = ReadWithTower(config, tower, ClipProcessor()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << value;
    EXPECT_NE(StatusMessage(status).find("tower/config.json"), std::string_view::npos) << status;
    EXPECT_NE(StatusMessage(status).find(key), std::string_view::npos) << status;
  }
  json processor = ClipProcessor();
  processor["crop_size"] = {{"height", 70}, {"width", 70}};
  processor["size"] = {{"shortest_edge", 70}};
  const absl::Status other = ReadWithTower(config, ClipConfig(), processor).status();
  for (const char* part : {"70", "56", "preprocessor_config.json"}) {
    EXPECT_NE(StatusMessage(other).find(part), std::string_view::npos) << other;
  }
  EXPECT_EQ(Read(config, directory_.path() / "nowhere").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tessera
