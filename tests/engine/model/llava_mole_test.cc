// Reading LLaVA-MoLE releases: how one is recognised, what comes from where, and what is refused by
// name.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using nlohmann::json;

json BaseConfig() {
  return json::parse(R"({"model_type": "llama", "hidden_size": 8, "intermediate_size": 12,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05, "rope_scaling": null, "vocab_size": 6})");
}

json PeftConfig() {
  return json::parse(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6,
    "mole": {"num_experts": 3, "rank": 4, "alpha": 10, "routing": "top1",
             "modules": ["gate_proj", "up_proj", "down_proj"]}})");
}

class LlavaMoleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(model_);
    std::filesystem::create_directories(base_);
    WriteBase(BaseConfig());
    AddTensors("");
  }

  void WriteBase(const json& config) { testing::WriteFile(base_ / "config.json", config.dump()); }

  // The trained part of layer 0 as far as a reader looks at it, under names that begin so.
  void AddTensors(const std::string& prefix) {
    const std::string layer = prefix + "base_model.model.model.layers.0.";
    const auto add = [&](const std::string& name, const std::vector<int64_t>& dims) {
      int64_t count = 1;
      for (const int64_t dim : dims) count *= dim;
      adapter_.AddFloats(name, dims, std::vector<float>(static_cast<size_t>(count), 1.0f));
    };
    add(layer + "mlp.router.weight", {3, 8});
    add(layer + "mlp.moe_gate.0.lora_A", {4, 8});
    add(layer + "mlp.original_module.gate_proj.weight", {12, 8});
    add(layer + "self_attn.q_proj.base_layer.weight", {8, 8});
    add(layer + "self_attn.q_proj.lora_A.default.weight", {2, 8});
    add(layer + "self_attn.q_proj.lora_B.default.weight", {8, 2});
    add("vit.vision_tower.vision_model.post_layernorm.weight", {8});
    add("in_adaptor.text_embed.weight", {6, 8});
  }

  absl::StatusOr<ModelSpec> Read(const std::string& file, const json& config) {
    adapter_.Write(model_ / "adapter_model.safetensors");
    testing::WriteFile(model_ / file, config.dump());
    return ReadModelSpec({model_, "", base_});
  }
  absl::StatusOr<ModelSpec> ReadPeft(const json& config) {
    return Read("adapter_config.json", config);
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path model_ = directory_.path() / "model";
  std::filesystem::path base_ = directory_.path() / "base";
  testing::SafetensorsWriter adapter_;
};

TEST_F(LlavaMoleTest, ReadsAPeftDirectory) {
  const auto spec = ReadPeft(PeftConfig());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->architecture, "llava_mole");
  EXPECT_EQ(spec->decoder.hidden, 8);
  EXPECT_EQ(spec->decoder.experts, (std::vector<int>{3, 3}));
  EXPECT_EQ(spec->decoder.lora->rank, 4);
  EXPECT_EQ(spec->decoder.lora->scale, 2.5f);
  EXPECT_EQ(spec->decoder.router.experts_per_token, 1);
  EXPECT_TRUE(spec->decoder.router.renormalize) << "the chosen one weighs 1";
  EXPECT_EQ(spec->vision->run_layers, 24);
  EXPECT_EQ(spec->image_rows(), 578);
  EXPECT_EQ(spec->prompt_format, PromptFormat::kLlavaMole);
  EXPECT_EQ(spec->repetition.penalty, 10);
  EXPECT_TRUE(spec->repetition.bos_for_prompt);
  EXPECT_EQ(spec->tokenizer_dir, base_);
  EXPECT_EQ(spec->max_context, 4096);
  ASSERT_EQ(spec->parts.size(), 1u) << "the base has no weights";
  EXPECT_EQ(spec->parts[0].lora_scale, 3.0) << "PEFT's own";
}

TEST_F(LlavaMoleTest, ReadsARawReleaseWithDenseRouting) {
  const auto spec =
      Read("mole.json", json::parse(R"({"mole": {"routing": "dense", "alpha": 10}})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->decoder.router.experts_per_token, 3);
  EXPECT_FALSE(spec->decoder.router.renormalize) << "each weighs its probability";
  EXPECT_EQ(spec->parts[0].lora_scale, 5.0) << "the same alpha over the attention's own rank";
}

TEST_F(LlavaMoleTest, TensorsGetTheBasesNames) {
  adapter_ = {};
  AddTensors("llm_model.");
  const auto spec = ReadPeft(PeftConfig());
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto checkpoint = Checkpoint::Open(spec->parts);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : (*checkpoint)->tensors()) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.moe_gate.0.lora_A",
                "model.layers.0.mlp.router.weight", "model.layers.0.self_attn.q_proj.weight",
                "vision_model.post_layernorm.weight"}));
  const auto merged = (*checkpoint)->Take("model.layers.0.self_attn.q_proj.weight", {8, 8});
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(static_cast<const float*>(merged->data)[0], 1 + 3 * 2.0f) << "W + α/r · B·A";
}

TEST_F(LlavaMoleTest, WhatDoesNotFitIsNamed) {
  const struct {
    const char* key;
    json value;
  } cases[] = {{"num_experts", 4},
               {"rank", 8},
               {"routing", "top2"},
               {"modules", {"gate_proj"}},
               {"alpha", "much"}};
  for (const auto& test : cases) {
    json config = PeftConfig();
    config["mole"][test.key] = test.value;
    const absl::Status status = ReadPeft(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.key;
    EXPECT_NE(StatusMessage(status).find(test.key), std::string_view::npos) << status;
    EXPECT_NE(StatusMessage(status).find("adapter_config.json"), std::string_view::npos) << status;
  }
  std::filesystem::remove(model_ / "adapter_config.json");
  const absl::Status alpha = Read("mole.json", json::parse(R"({"mole": {}})")).status();
  EXPECT_NE(StatusMessage(alpha).find("alpha"), std::string_view::npos) << alpha;
}

TEST_F(LlavaMoleTest, NeedsALlamaAsItsBase) {
  ASSERT_TRUE(ReadPeft(PeftConfig()).ok());
  const absl::Status none = ReadModelSpec({model_, "", ""}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(none).find("--base"), std::string_view::npos) << none;
  json config = BaseConfig();
  config["model_type"] = "gpt2";
  WriteBase(config);
  const absl::Status other = ReadPeft(PeftConfig()).status();
  EXPECT_NE(StatusMessage(other).find("model_type"), std::string_view::npos) << other;
}

TEST_F(LlavaMoleTest, ADirectoryWithoutAMarkIsNoRelease) {
  json config = PeftConfig();
  config.erase("mole");
  const absl::Status status = ReadPeft(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(status).find("adapter_config.json makes it an adapter: LLaVA-MoLE's says "
                                       "its routing and alpha in mole.json"),
            std::string_view::npos)
      << status;
}

TEST_F(LlavaMoleTest, NeedsARouterAndExperts) {
  adapter_ = {};
  adapter_.AddFloats("in_adaptor.visual_start_token", {1, 1, 8}, std::vector<float>(8, 0.0f));
  const absl::Status status = ReadPeft(PeftConfig()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(status).find("mlp.router.weight"), std::string_view::npos) << status;
}

}  // namespace
}  // namespace tessera
