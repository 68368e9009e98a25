#include "engine/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "engine/base/status.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using testing::SafetensorsWriter;
using testing::WriteFile;

class CheckpointTest : public ::testing::Test {
 protected:
  std::filesystem::path Path(const std::string& name) const { return directory_.path() / name; }
  void WriteIndex(const std::string& text) const {
    WriteFile(Path("model.safetensors.index.json"), text);
  }
  // Two shards: first.safetensors holds "a", second.safetensors "b".
  void WriteShards() const {
    SafetensorsWriter().AddFloats("a", {2}, {1, 2}).Write(Path("first.safetensors"));
    SafetensorsWriter().AddFloats("b", {1, 2}, {3, 4}).Write(Path("second.safetensors"));
  }
  std::unique_ptr<Checkpoint> OpenGood() const {
    auto checkpoint = Checkpoint::Open({CheckpointPart{directory_.path()}});
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return *std::move(checkpoint);
  }
  // The error, which must name every one of `parts`.
  void ExpectRefused(absl::StatusCode code, const std::vector<std::string>& parts) const {
    const absl::Status status = Checkpoint::Open({CheckpointPart{directory_.path()}}).status();
    EXPECT_EQ(status.code(), code) << status;
    ExpectNames(status, parts);
  }
  static void ExpectNames(const absl::Status& status, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      EXPECT_NE(StatusMessage(status).find(part), std::string_view::npos) << part << ": " << status;
    }
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(CheckpointTest, ReadsOneFile) {
  SafetensorsWriter()
      .AddFloats("a", {2, 1}, {1, 2})
      .AddFloats("b", {1}, {3})
      .Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  EXPECT_TRUE(checkpoint->Contains("a"));
  EXPECT_FALSE(checkpoint->Contains("c"));
  EXPECT_EQ(checkpoint->total_bytes(), 12);
  const auto tensor = checkpoint->Take("a", {2, -1});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->dims, (std::vector<int64_t>{2, 1}));
}

TEST_F(CheckpointTest, ReadsShardsByTheirIndex) {
  WriteShards();
  SafetensorsWriter().AddFloats("stray", {1}, {9}).Write(Path("other.safetensors"));
  WriteIndex(R"({"metadata":{},"weight_map":{"a":"first.safetensors","b":"second.safetensors"}})");
  const auto checkpoint = OpenGood();
  EXPECT_EQ(checkpoint->tensors().size(), 2u) << "the index counts, not what else lies there";
  EXPECT_TRUE(checkpoint->Take("a", {2}).ok());
  EXPECT_TRUE(checkpoint->Take("b", {1, 2}).ok());
}

TEST_F(CheckpointTest, TellsWhatNobodyTook) {
  SafetensorsWriter()
      .AddFloats("a", {1}, {1})
      .AddFloats("b", {1}, {2})
      .AddFloats("c", {1}, {3})
      .Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  ASSERT_TRUE(checkpoint->Take("b", {1}).ok());
  EXPECT_EQ(checkpoint->Unused(), (std::vector<std::string>{"a", "c"}));
  checkpoint->Ignore("c");
  EXPECT_FALSE(checkpoint->Take("a", {2}).ok());
  EXPECT_EQ(checkpoint->Unused(), std::vector<std::string>{"a"}) << "refused is not taken";
}

TEST_F(CheckpointTest, ReleasedTensorsCanStillBeRead) {
  std::vector<float> values(20000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  SafetensorsWriter().AddFloats("a", {20000}, values).Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  const HostTensor tensor = checkpoint->Take("a", {20000}).value();
  checkpoint->Release(tensor);
  EXPECT_EQ(std::memcmp(tensor.data, values.data(), tensor.bytes()), 0);
}

TEST_F(CheckpointTest, AMissingTensorIsNamedWithTheClosestThereIs) {
  SafetensorsWriter()
      .AddFloats("model.layers.0.mlp.fc1.weight", {1}, {1})
      .AddFloats("model.layers.0.attention.dense.weight", {1}, {1})
      .Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  const absl::Status status = checkpoint->Take("model.layers.0.mlp.fc_1.weight", {1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  ExpectNames(status, {directory_.path().string(), "\"model.layers.0.mlp.fc_1.weight\"",
                       "there is \"model.layers.0.mlp.fc1.weight\""});
  const absl::Status other = checkpoint->Take("quite.another", {1}).status();
  EXPECT_EQ(StatusMessage(other).find("there is"), std::string_view::npos) << other;
}

TEST_F(CheckpointTest, AMisshapenTensorIsNamedWithBothShapes) {
  SafetensorsWriter()
      .AddFloats("a", {2, 3}, std::vector<float>(6))
      .Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  for (const std::vector<int64_t>& dims :
       {std::vector<int64_t>{3, 2}, {6}, {2, 3, 1}, {}, {-1, 4}, {2}}) {
    const absl::Status status = checkpoint->Take("a", dims).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    ExpectNames(status, {directory_.path().string(), "\"a\"", "[2, 3]",
                         HostTensor{DType::kFloat32, dims, nullptr}.ShapeString()});
  }
  EXPECT_TRUE(checkpoint->Take("a", {2, 3}).ok());
}

TEST_F(CheckpointTest, IntegersAreNoWeights) {
  SafetensorsWriter().Add("ids", "I32", {1}, std::string(4, '\1')).Write(Path("model.safetensors"));
  const absl::Status status = OpenGood()->Take("ids", {1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  ExpectNames(status, {directory_.path().string(), "\"ids\"", "int32"});
}

TEST_F(CheckpointTest, OnlyTakingATensorOfAnotherTypeIsAnError) {
  SafetensorsWriter()
      .AddFloats("a", {1}, {1})
      .Add("mask", "BOOL", {2}, "ab")
      .Add("sum", "F64", {}, "abcdefgh")
      .Write(Path("model.safetensors"));
  const auto checkpoint = OpenGood();
  EXPECT_TRUE(checkpoint->Take("a", {1}).ok());
  ExpectNames(checkpoint->Take("mask", {2}).status(), {"\"mask\"", "BOOL"});
  ExpectNames(checkpoint->Take("sum", {}).status(), {"\"sum\"", "F64"});
}

TEST_F(CheckpointTest, ADirectoryWithoutWeightsIsRefused) {
  ExpectRefused(absl::StatusCode::kNotFound, {directory_.path().string(), "model.safetensors"});
  std::filesystem::create_directory(Path("model.safetensors"));
  ExpectRefused(absl::StatusCode::kInvalidArgument, {Path("model.safetensors").string()});
}

TEST_F(CheckpointTest, ATensorInTwoShardsIsRefused) {
  SafetensorsWriter().AddFloats("a", {1}, {1}).Write(Path("first.safetensors"));
  SafetensorsWriter()
      .AddFloats("a", {1}, {2})
      .AddFloats("b", {1}, {3})
      .Write(Path("second.safetensors"));
  WriteIndex(R"({"weight_map":{"a":"first.safetensors","b":"second.safetensors"}})");
  ExpectRefused(absl::StatusCode::kInvalidArgument, {Path("second.safetensors").string(), "\"a\""});
}

TEST_F(CheckpointTest, AnIndexMustNameFilesBesideIt) {
  WriteShards();
  std::filesystem::create_directory(Path("below"));
  SafetensorsWriter().AddFloats("a", {1}, {1}).Write(Path("below/x"));
  for (const std::string& shard :
       {std::string(R"("../x")"), std::string(R"("/etc/passwd")"), std::string(R"("below/x")"),
        std::string(R"("below/")"), std::string(R"("")"), std::string("7"), std::string("null"),
        std::string(R"(["x"])"), std::string(R"("..")"), std::string(R"(".")")}) {
    WriteIndex(R"({"weight_map":{"the.tensor":)" + shard + "}}");
    ExpectRefused(absl::StatusCode::kInvalidArgument,
                  {Path("model.safetensors.index.json").string(), "\"the.tensor\"", shard});
  }
}

TEST_F(CheckpointTest, WhatAnIndexPromisesMustBeThere) {
  WriteShards();
  WriteIndex(R"({"weight_map":{"a":"first.safetensors","the.tensor":"second.safetensors"}})");
  ExpectRefused(absl::StatusCode::kInvalidArgument, {Path("model.safetensors.index.json").string(),
                                                     "\"the.tensor\"", "second.safetensors"});
  WriteIndex(R"({"weight_map":{"a":"third.safetensors"}})");
  ExpectRefused(absl::StatusCode::kNotFound, {Path("third.safetensors").string()});
}

TEST_F(CheckpointTest, AnIndexThatIsNoneIsRefused) {
  WriteShards();
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("7"), std::string("{}"),
        std::string(R"({"weight_map":[]})"), std::string(R"({"weight_map":"first.safetensors"})"),
        std::string(R"({"weight_map":)") + std::string(100'000, '[')}) {
    WriteIndex(text);
    ExpectRefused(absl::StatusCode::kInvalidArgument,
                  {Path("model.safetensors.index.json").string()});
  }
}

TEST_F(CheckpointTest, ABadShardIsNamedWithItsTensor) {
  WriteShards();
  WriteFile(
      Path("second.safetensors"),
      testing::SafetensorsBytes(R"({"b":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}})", "x"));
  WriteIndex(R"({"weight_map":{"a":"first.safetensors","b":"second.safetensors"}})");
  ExpectRefused(absl::StatusCode::kInvalidArgument,
                {Path("second.safetensors").string(), "\"b\"", "F8"});
}

}  // namespace
}  // namespace tessera
