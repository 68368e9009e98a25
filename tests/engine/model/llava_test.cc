// LLaVA-1.5's two layouts: what is read from config.json, and of which parts a checkpoint is made.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/part_names.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// config.json of liuhaotian/llava-v1.5-7b, without keys that concern training.
json PublishedOriginal() {
  return json::parse(R"({"architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava",
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
    "image_aspect_ratio": "pad", "intermediate_size": 11008, "max_length": 4096,
    "max_position_embeddings": 4096, "mm_hidden_size": 1024, "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": null, "mm_use_im_patch_token": false, "mm_use_im_start_end": false,
    "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336", "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "rms_norm_eps": 1e-05,
    "rope_scaling": null, "tie_word_embeddings": false, "unfreeze_mm_vision_tower": false,
    "vocab_size": 32000})");
}

// config.json of llava-hf/llava-1.5-7b-hf.
json PublishedHf() {
  return json::parse(R"({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
    "ignore_index": -100, "image_token_index": 32000, "pad_token_id": 32001,
    "projector_hidden_act": "gelu", "tie_word_embeddings": false, "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default", "vocab_size": 32064,
    "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
      "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
      "torch_dtype": "float16", "vocab_size": 32064},
    "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
      "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
      "patch_size": 14, "projection_dim": 768, "vocab_size": 32000}})");
}

json Processor(int size) {
  return {{"image_processor_type", "CLIPImageProcessor"}, {"size", size}, {"crop_size", size}};
}

class LlavaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"model", "tower", "base"}) fs::create_directory(Dir(name));
  }
  fs::path Dir(const std::string& name) const { return directory_.path() / name; }
  void Touch(const std::string& path) const { testing::WriteFile(directory_.path() / path, ""); }
  void WriteJson(const std::string& path, const json& value) const {
    testing::WriteFile(directory_.path() / path, value.dump());
  }
  // A tower's directory of the published geometry, its weights apart.
  void WriteTower() const {
    WriteJson("tower/config.json",
              {{"model_type", "clip"}, {"vision_config", PublishedHf()["vision_config"]}});
    WriteJson("tower/preprocessor_config.json", Processor(336));
  }
  absl::StatusOr<ModelSpec> Read(const json& config, const ModelDirectories& more = {}) const {
    WriteJson("model/config.json", config);
    ModelDirectories directories = more;
    directories.model = Dir("model");
    return ReadModelSpec(directories);
  }
  absl::StatusOr<ModelSpec> ReadHf(const json& config) const {
    WriteJson("model/preprocessor_config.json", Processor(336));
    return Read(config);
  }

  testing::TemporaryDirectory directory_;
};

std::vector<fs::path> Paths(const ModelSpec& spec) {
  std::vector<fs::path> paths;
  for (const CheckpointPart& part : spec.parts) paths.push_back(part.path);
  return paths;
}

std::string NameIn(const CheckpointPart& part, const std::string& name) {
  return CanonicalName(part, name).value_or("(left out)");
}

constexpr const char* kTowerTensor =
    "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding";

TEST_F(LlavaTest, PublishedDecoder) {
  for (const char* model_type : {"llava", "llava_llama"}) {
    json config = PublishedOriginal();
    config["model_type"] = model_type;
    const auto spec = Read(config);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const DecoderSpec& decoder = spec->decoder;
    EXPECT_EQ(decoder.hidden, 4096);
    EXPECT_EQ(decoder.layers, 32);
    EXPECT_EQ(decoder.head_dim, 128);
    EXPECT_EQ(decoder.rotary_dims, 128);
    EXPECT_EQ(decoder.ffn, 11008);
    EXPECT_EQ(decoder.norm, NormKind::kRmsNorm);
    EXPECT_FLOAT_EQ(decoder.norm_epsilon, 1e-5f);
    EXPECT_TRUE(decoder.gated_ffn);
    EXPECT_FALSE(decoder.qkv_bias || decoder.attention_out_bias || decoder.ffn_bias);
    EXPECT_EQ(decoder.moe_layers(), 0);
    EXPECT_EQ(decoder.experts.size(), 32u);
    EXPECT_EQ(spec->max_context, 4096);
    EXPECT_EQ(spec->prompt_format, PromptFormat::kVicunaV1);
    EXPECT_FALSE(spec->stops_at_turn_end) << "only end tokens end an answer";
    EXPECT_FALSE(spec->image_token.has_value());
  }
}

TEST_F(LlavaTest, PublishedVision) {
  const ModelSpec spec = Read(PublishedOriginal()).value();
  EXPECT_EQ(spec.vision->hidden, 1024);
  EXPECT_EQ(spec.vision->run_layers, 23);
  EXPECT_EQ(spec.image_rows(), 576);
  EXPECT_EQ(spec.vision->prefix + "embeddings.class_embedding", kTowerTensor);
  EXPECT_EQ(spec.projector.layers,
            (std::vector<std::string>{"model.mm_projector.0", "model.mm_projector.2"}));
  EXPECT_EQ(spec.image_mode, ImageMode::kPad);
}

TEST_F(LlavaTest, RefusesWhatTheReferenceDoesNotHave) {
  const std::pair<const char*, json> cases[] = {
      {"mm_projector_type", "pool_mlp2x_gelu"},
      {"mm_projector_type", "mlp2x_res2x_gelu"},
      {"mm_use_im_start_end", true},
      {"image_aspect_ratio", "anyres"},
      {"rope_scaling", {{"type", "linear"}}},
      {"unfreeze_mm_vision_tower", "no"},
  };
  for (const auto& [key, value] : cases) {
    json config = PublishedOriginal();
    config[key] = value;
    const absl::Status status = Read(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_NE(StatusMessage(status).find(key), std::string_view::npos) << status;
  }
}

// -----------------------------------------------------------------------------------------------------------------
// parts

TEST_F(LlavaTest, AWholeModelIsOnePartWithoutRotaryFrequencies) {
  Touch("model/pytorch_model.bin");
  Touch("model/mm_projector.bin");  // lies beside whole models, too
  const ModelSpec spec = Read(PublishedOriginal()).value();
  ASSERT_EQ(Paths(spec), std::vector<fs::path>{Dir("model")});
  EXPECT_EQ(NameIn(spec.parts[0], "model.layers.3.self_attn.rotary_emb.inv_freq"), "(left out)");
  EXPECT_EQ(NameIn(spec.parts[0], "model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(spec.tokenizer_dir, "");
}

TEST_F(LlavaTest, AFrozenTowerComesFromItsOwnDirectory) {
  WriteTower();
  const ModelDirectories directories = {.model = {}, .vision_tower = Dir("tower"), .base = {}};
  EXPECT_EQ(Paths(Read(PublishedOriginal(), directories).value()),
            std::vector<fs::path>{Dir("model")})
      << "geometry alone";

  Touch("tower/model.safetensors");
  const ModelSpec spec = Read(PublishedOriginal(), directories).value();
  ASSERT_EQ(Paths(spec), (std::vector<fs::path>{Dir("tower"), Dir("model")}));
  EXPECT_EQ(NameIn(spec.parts[0], "vision_model.embeddings.class_embedding"), kTowerTensor);
  EXPECT_EQ(NameIn(spec.parts[0], "text_model.final_layer_norm.weight"), "(left out)");
  EXPECT_EQ(NameIn(spec.parts[0], "logit_scale"), "(left out)");
}

TEST_F(LlavaTest, ATrainedTowerIsTheCheckpoints) {
  WriteTower();
  Touch("tower/model.safetensors");
  json config = PublishedOriginal();
  config["unfreeze_mm_vision_tower"] = true;
  const ModelSpec spec =
      Read(config, {.model = {}, .vision_tower = Dir("tower"), .base = {}}).value();
  EXPECT_EQ(Paths(spec), (std::vector<fs::path>{Dir("model"), Dir("tower")}));
}

TEST_F(LlavaTest, ALoraReleaseIsMergedIntoItsBase) {
  WriteJson("model/adapter_config.json", {{"r", 128}, {"lora_alpha", 256}});
  Touch("model/adapter_model.bin");
  Touch("model/non_lora_trainables.bin");
  const absl::Status alone = Read(PublishedOriginal()).status();
  EXPECT_EQ(alone.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(alone).find("--base"), std::string_view::npos) << alone;

  const auto spec =
      Read(PublishedOriginal(), {.model = {}, .vision_tower = {}, .base = Dir("base")});
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_EQ(Paths(*spec), (std::vector<fs::path>{Dir("model") / "non_lora_trainables.bin",
                                                 Dir("model") / "adapter_model.bin", Dir("base")}));
  EXPECT_EQ(NameIn(spec->parts[0], "base_model.model.model.mm_projector.0.weight"),
            "model.mm_projector.0.weight");
  EXPECT_EQ(NameIn(spec->parts[0], "model.mm_projector.0.weight"), "model.mm_projector.0.weight");
  EXPECT_EQ(NameIn(spec->parts[1], "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"),
            "model.layers.0.mlp.up_proj.lora_A.weight");
  EXPECT_EQ(spec->parts[1].lora_scale, 2.0);
  EXPECT_FALSE(spec->parts[0].lora_scale.has_value());
  EXPECT_EQ(NameIn(spec->parts[2], "model.layers.0.self_attn.rotary_emb.inv_freq"), "(left out)");
  EXPECT_EQ(spec->tokenizer_dir, Dir("base"));
}

TEST_F(LlavaTest, AProjectorReleaseLiesOverItsBase) {
  Touch("model/mm_projector.bin");
  const absl::Status alone = Read(PublishedOriginal()).status();
  EXPECT_NE(StatusMessage(alone).find("--base"), std::string_view::npos) << alone;
  const auto spec =
      Read(PublishedOriginal(), {.model = {}, .vision_tower = {}, .base = Dir("base")});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(Paths(*spec), (std::vector<fs::path>{Dir("model") / "mm_projector.bin", Dir("base")}));
  EXPECT_EQ(spec->tokenizer_dir, Dir("base"));
}

// -----------------------------------------------------------------------------------------------------------------
// the layout of transformers

TEST_F(LlavaTest, TextFieldsThatAreMissingHaveTheClassesDefaults) {
  const auto spec = ReadHf(PublishedHf());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->decoder.hidden, 4096);
  EXPECT_EQ(spec->decoder.layers, 32);
  EXPECT_EQ(spec->decoder.kv_heads, 32);
  EXPECT_EQ(spec->decoder.ffn, 11008);
  EXPECT_FLOAT_EQ(spec->decoder.norm_epsilon, 1e-5f) << "given";
  EXPECT_EQ(spec->max_context, 4096);
  EXPECT_EQ(spec->prompt_format, PromptFormat::kLlavaHf);
  EXPECT_EQ(spec->image_token, 32000);
  EXPECT_EQ(spec->image_mode, ImageMode::kCrop);
  EXPECT_EQ(spec->image_rows(), 576);

  json config = PublishedHf();
  config["text_config"].update(
      {{"hidden_size", 5120}, {"num_attention_heads", 40}, {"mlp_bias", true}});
  config["vision_feature_select_strategy"] = "full";
  config["multimodal_projector_bias"] = false;
  config["projector_hidden_act"] = "gelu_pytorch_tanh";
  config.erase("vision_config");
  const auto other = ReadHf(config);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->decoder.hidden, 5120);
  EXPECT_TRUE(other->decoder.ffn_bias);
  EXPECT_EQ(other->image_rows(), 577);
  EXPECT_FALSE(other->projector.bias);
  EXPECT_EQ(other->projector.activation, Activation::kGeluTanh);
}

TEST_F(LlavaTest, OldAndNewTensorNamesAreOne) {
  const std::pair<const char*, const char*> pairs[] = {
      {"language_model.model.embed_tokens.weight", "model.language_model.embed_tokens.weight"},
      {"language_model.model.layers.0.mlp.up_proj.weight",
       "model.language_model.layers.0.mlp.up_proj.weight"},
      {"language_model.lm_head.weight", "lm_head.weight"},
      {"vision_tower.vision_model.embeddings.class_embedding",
       "model.vision_tower.vision_model.embeddings.class_embedding"},
      {"multi_modal_projector.linear_1.bias", "model.multi_modal_projector.linear_1.bias"},
  };
  const ModelSpec spec = ReadHf(PublishedHf()).value();
  const std::string expected[] = {spec.decoder.names.embedding + ".weight",
                                  ExpandName(spec.decoder.names.layer, 0) + "mlp.up_proj.weight",
                                  spec.decoder.names.head + ".weight",
                                  spec.vision->prefix + "embeddings.class_embedding",
                                  spec.projector.layers[0] + ".bias"};
  for (const bool recent : {false, true}) {
    testing::SafetensorsWriter tensors;
    for (const auto& [old_name, new_name] : pairs) {
      tensors.AddFloats(recent ? new_name : old_name, {1}, {1.0f});
    }
    tensors.Write(Dir("model") / "model.safetensors");
    const auto checkpoint = Checkpoint::Open(spec.parts);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    for (const std::string& name : expected) EXPECT_TRUE((*checkpoint)->Contains(name)) << name;
  }
}

TEST_F(LlavaTest, FieldsOfTransformersLayoutAreNamed) {
  const struct {
    const char* object;
    const char* key;
    json value;
  } cases[] = {
      {"", "text_config", 7},
      {"text_config", "model_type", "opt"},
      {"text_config", "hidden_size", 0},
      {"text_config", "head_dim", 64},
      {"vision_config", "model_type", "resnet"},
      {"vision_config", "patch_size", 0},
      {"", "vision_config", json::array()},
      {"", "vision_feature_layer", {-2, -1}},
      {"", "vision_feature_layer", 25},
      {"", "vision_feature_select_strategy", "patch"},
      {"", "projector_hidden_act", "relu"},
      {"", "multimodal_projector_bias", 1},
      {"", "image_token_index", -1},
  };
  for (const auto& test : cases) {
    json config = PublishedHf();
    (*test.object == '\0' ? config : config[test.object])[test.key] = test.value;
    const absl::Status status = ReadHf(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.key << test.value;
    EXPECT_NE(StatusMessage(status).find(test.key), std::string_view::npos) << status;
    EXPECT_NE(StatusMessage(status).find("config.json"), std::string_view::npos) << status;
  }
  WriteJson("model/preprocessor_config.json", Processor(224));
  const absl::Status size = Read(PublishedHf()).status();
  EXPECT_NE(StatusMessage(size).find("224"), std::string_view::npos) << size;
}

}  // namespace
}  // namespace tessera
