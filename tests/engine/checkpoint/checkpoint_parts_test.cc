// Checkpoints made of several parts: order, renaming, low-rank updates.
#include <gtest/gtest.h>

#include <random>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/part_names.h"
#include "engine/checkpoint/to_floats.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using testing::SafetensorsWriter;
using testing::WriteFile;

class CheckpointPartsTest : public ::testing::Test {
 protected:
  std::filesystem::path Path(const std::string& name) const { return directory_.path() / name; }
  static std::vector<float> Floats(Checkpoint& checkpoint, const std::string& name,
                                   const std::vector<int64_t>& dims) {
    const auto tensor = checkpoint.Take(name, dims);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    return tensor.ok() ? ToFloats(*tensor) : std::vector<float>();
  }
  static void ExpectRefused(const std::vector<CheckpointPart>& parts,
                            const std::vector<std::string>& named) {
    const absl::Status status = Checkpoint::Open(parts).status();
    EXPECT_FALSE(status.ok());
    for (const std::string& name : named) {
      EXPECT_NE(StatusMessage(status).find(name), std::string_view::npos) << name << ": " << status;
    }
  }
  // A base with "up.weight" [2, 3] and an adapter whose pair has rank 1.
  void WriteLora(const std::vector<int64_t>& a, const std::vector<int64_t>& b) const {
    SafetensorsWriter()
        .AddFloats("up.weight", {2, 3}, {1, 2, 3, 4, 5, 6})
        .Write(Path("base.safetensors"));
    const auto count = [](const std::vector<int64_t>& dims) {
      return static_cast<size_t>(dims[0] * dims[1]);
    };
    SafetensorsWriter()
        .AddFloats("base_model.up.lora_A.weight", a, std::vector<float>(count(a), 2))
        .AddFloats("base_model.up.lora_B.weight", b, std::vector<float>(count(b), 3))
        .Write(Path("adapter.safetensors"));
  }
  std::vector<CheckpointPart> LoraParts() const {
    return {
        {.path = Path("adapter.safetensors"), .renames = {{"base_model.", ""}}, .lora_scale = 0.5},
        {.path = Path("base.safetensors")}};
  }

  testing::TemporaryDirectory directory_;
};

TEST(CanonicalNameTest, RenamesApplyInOrderOnceEach) {
  const CheckpointPart part{.path = {},
                            .renames = {{"base_model.", ""},
                                        {"model.model.", "model."},
                                        {".base_layer.", ".", true},
                                        {".inv_freq", std::nullopt, true},
                                        {"lm_head.", "language_model.lm_head."}}};
  const std::pair<const char*, const char*> cases[] = {
      {"base_model.model.model.mm_projector.0.bias", "model.mm_projector.0.bias"},
      {"base_model.base_model.x", "base_model.x"},
      {"model.layers.0.q_proj.base_layer.weight", "model.layers.0.q_proj.weight"},
      {"x.base_model.y", "x.base_model.y"},
      {"lm_head.weight", "language_model.lm_head.weight"},
      {"lm_head", "lm_head"},
  };
  for (const auto& [own, canonical] : cases) EXPECT_EQ(CanonicalName(part, own), canonical);
  EXPECT_EQ(CanonicalName(part, "model.layers.3.rotary_emb.inv_freq"), std::nullopt);
  const CheckpointPart tower{.path = {}, .renames = {{"", "tower."}}, .only = "vision_model."};
  EXPECT_EQ(CanonicalName(tower, "vision_model.a"), "tower.vision_model.a");
  EXPECT_EQ(CanonicalName(tower, "text_model.a"), std::nullopt);
}

TEST_F(CheckpointPartsTest, TheFirstPartWins) {
  SafetensorsWriter().AddFloats("p.a", {1}, {1}).Write(Path("adapter.safetensors"));
  std::filesystem::create_directory(Path("base"));
  SafetensorsWriter()
      .AddFloats("a", {2}, {2, 2})
      .AddFloats("b", {1}, {3})
      .AddFloats("text.c", {1}, {4})
      .Write(Path("base/model.safetensors"));
  const auto checkpoint =
      Checkpoint::Open({{.path = Path("adapter.safetensors"), .renames = {{"p.", ""}}},
                        {.path = Path("base"), .renames = {{"text.", std::nullopt}}}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->Unused(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(Floats(**checkpoint, "a", {1}), std::vector<float>{1});
  EXPECT_EQ(Floats(**checkpoint, "b", {1}), std::vector<float>{3});
  EXPECT_EQ((*checkpoint)->total_bytes(), 8);
  const absl::Status missing = (*checkpoint)->Take("x", {1}).status();
  for (const char* path : {"adapter.safetensors", "base"}) {
    EXPECT_NE(StatusMessage(missing).find(Path(path).string()), std::string_view::npos) << missing;
  }
}

TEST_F(CheckpointPartsTest, TwoTensorsOfOnePartMayNotBecomeOne) {
  SafetensorsWriter()
      .AddFloats("x.a", {1}, {1})
      .AddFloats("a", {1}, {1})
      .Write(Path("model.safetensors"));
  ExpectRefused({{.path = directory_.path(), .renames = {{"x.", ""}}}},
                {Path("model.safetensors").string(), "\"x.a\"", "\"a\""});
}

TEST_F(CheckpointPartsTest, LoraPairsAreAddedToTheirWeight) {
  WriteLora({1, 3}, {2, 1});
  const auto checkpoint = Checkpoint::Open(LoraParts());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(Floats(**checkpoint, "up.weight", {2, 3}), (std::vector<float>{4, 5, 6, 7, 8, 9}));
  EXPECT_TRUE((*checkpoint)->Unused().empty()) << "pairs are no tensors of their own";
  const auto again = (*checkpoint)->Take("up.weight", {-1, -1});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->dtype, DType::kFloat32);
  (*checkpoint)->Release(*again);
}

// As torch does it: B · A in float32, times the scale, added to the widened half-precision weight.
TEST_F(CheckpointPartsTest, LoraOfOddShapesIsTheProduct) {
  constexpr int64_t kOut = 5, kIn = 2051, kRank = 3;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto draw = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  };
  const std::vector<float> a = draw(kRank * kIn), b = draw(kOut * kRank);
  SafetensorsWriter()
      .Add("w.weight", "F16", {kOut, kIn}, std::string(kOut * kIn * 2, '\x3C'))  // 1.05859375
      .AddFloats("w.lora_A.default.weight", {kRank, kIn}, a)
      .AddFloats("w.lora_B.default.weight", {kOut, kRank}, b)
      .Write(Path("model.safetensors"));
  const auto checkpoint = Checkpoint::Open({{.path = directory_.path(), .lora_scale = 2}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::vector<float> merged = Floats(**checkpoint, "w.weight", {kOut, kIn});
  for (int64_t i = 0; i < kOut; ++i) {
    for (int64_t j = 0; j < kIn; ++j) {
      double expected = 1.05859375;
      for (int64_t k = 0; k < kRank; ++k) {
        expected +=
            2.0 * b[static_cast<size_t>(i * kRank + k)] * a[static_cast<size_t>(k * kIn + j)];
      }
      ASSERT_NEAR(merged[static_cast<size_t>(i * kIn + j)], expected, 1e-5);
    }
  }
}

TEST_F(CheckpointPartsTest, LoraThatDoesNotFitIsRefused) {
  WriteLora({1, 4}, {2, 1});
  ExpectRefused(LoraParts(), {Path("adapter.safetensors").string(), "\"up.weight\"", "[1, 4]"});
  WriteLora({1, 3}, {3, 1});
  ExpectRefused(LoraParts(), {Path("adapter.safetensors").string(), "\"up.weight\"", "[3, 1]"});
  WriteLora({2, 3}, {2, 1});
  ExpectRefused(LoraParts(), {Path("adapter.safetensors").string(), "\"up.weight\"", "[2, 3]"});
  WriteLora({1, 3}, {2, 1});
  const std::vector<CheckpointPart> alone = {LoraParts()[0]};
  ExpectRefused(alone, {Path("adapter.safetensors").string(), "\"up.weight\"", "base model"});
}

TEST_F(CheckpointPartsTest, HalvesOfPairsAreRefused) {
  SafetensorsWriter()
      .AddFloats("up.weight", {1, 1}, {1})
      .AddFloats("up.lora_A.weight", {1, 1}, {1})
      .Write(Path("model.safetensors"));
  ExpectRefused({{.path = directory_.path(), .lora_scale = 1}}, {"\"up.lora_B.weight\""});
  EXPECT_TRUE(Checkpoint::Open({{.path = directory_.path()}}).ok()) << "no pairs without a scale";
}

TEST_F(CheckpointPartsTest, TheScaleIsReadFromPeftsConfig) {
  const std::filesystem::path path = Path("adapter_config.json");
  const auto read = [&](const std::string& text) -> absl::StatusOr<double> {
    WriteFile(path, text);
    const auto json = ReadJsonFile(path);
    if (!json.ok()) return json.status();
    JsonFields fields(*json, path.string());
    return ReadLoraScale(fields);
  };
  EXPECT_EQ(*read(R"({"peft_type": "LORA", "r": 128, "lora_alpha": 256, "use_dora": false})"), 2);
  EXPECT_EQ(*read(R"({"r": 16, "lora_alpha": 8, "use_rslora": true, "rank_pattern": {}})"), 2);
  for (const char* text :
       {R"({"r": 0})", R"({"lora_alpha": 8})", R"({"r": 8, "use_dora": true})",
        R"({"r": 8, "fan_in_fan_out": true})", R"({"r": 8, "rank_pattern": {"q_proj": 4}})",
        R"({"r": 8, "alpha_pattern": {"q_proj": 4}})", R"({"r": 8, "peft_type": "IA3"})", "[]"}) {
    const absl::Status status = read(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(StatusMessage(status).find(path.string()), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
