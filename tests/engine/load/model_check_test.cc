// Checking a checkpoint by its headers: the same figures as loading it, every tensor that is
// missing, misshapen or unknown by name.
#include "engine/load/model_check.h"

#include <gtest/gtest.h>

#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/load/loaded_model.h"
#include "tests/testing/data_path.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr char kRouter[] = "model.layers.2.mlp.deepspeed_moe.gate.wg.weight";
constexpr char kPositions[] =
    "model.image_tower.image_tower.vision_model.embeddings.position_embedding.weight";

ModelOptions Golden() {
  ModelOptions options;
  options.model_dir = testing::DataPath("golden/models/moe_llava_phi/model");
  options.vision_tower_dir = testing::DataPath("golden/models/moe_llava_phi/vision_tower");
  return options;
}

bool Holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class ModelCheckTest : public ::testing::Test {
 protected:
  // The golden model in a directory of its own, its tensors passed through `change`, which may drop
  // them or alter their shape.
  template <typename Change>
  ModelOptions Copy(const Change& change, const std::vector<std::string>& added = {}) {
    ModelOptions options = Golden();
    for (const auto& file : fs::directory_iterator(options.model_dir)) {
      const std::string name = file.path().filename().string();
      if (name.find("safetensors") == std::string::npos) fs::copy(file, directory_.path() / name);
    }
    const auto checkpoint = Checkpoint::Open({{options.model_dir}});
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    testing::SafetensorsWriter writer;
    for (const auto& [name, tensor] : (*checkpoint)->tensors()) {
      std::vector<int64_t> dims = tensor.dims;
      if (!change(name, dims)) continue;
      writer.Add(name, tensor.type, dims, {static_cast<const char*>(tensor.data), tensor.bytes});
    }
    for (const std::string& name : added) writer.AddFloats(name, {2}, {1, 2});
    writer.Write(directory_.path() / "model.safetensors");
    options.model_dir = directory_.path();
    return options;
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(ModelCheckTest, SaysWhatLoadingSays) {
  const ModelCheck check = CheckModel(Golden());
  EXPECT_TRUE(check.servable()) << FormatCheck(check);
  EXPECT_TRUE(check.unused.empty());
  ASSERT_TRUE(check.info.has_value());
  auto backend = MakeCpuBackend({});
  ASSERT_TRUE(backend.ok());
  const auto loaded = LoadModel(**backend, Golden(), nullptr);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const ModelInfo& info = (*loaded)->info;
  EXPECT_EQ(check.info->parameters, info.parameters);
  EXPECT_EQ(check.info->active_parameters, info.active_parameters);
  EXPECT_LT(info.active_parameters, info.parameters);
  ASSERT_EQ(check.memory.size(), 3u);
  EXPECT_EQ(check.memory[0].dtype, DType::kFloat32);
  const DecoderSpec& decoder = (*loaded)->spec.decoder;
  const int64_t rows = 2 * int64_t{decoder.layers} * decoder.kv_heads;
  EXPECT_EQ(check.memory[0].kv_bytes_per_token, rows * decoder.head_dim * 4);
  EXPECT_EQ(check.memory[2].kv_bytes_per_token, rows * decoder.head_dim * 2);
  EXPECT_EQ(check.fp8_kv_bytes_per_token, rows * (decoder.head_dim + 4));
  EXPECT_GE(check.memory[0].weight_bytes, 4 * info.parameters);
  EXPECT_EQ(check.memory[1].weight_bytes, check.memory[2].weight_bytes);
  EXPECT_LT(check.memory[1].weight_bytes, check.memory[0].weight_bytes);
}

TEST_F(ModelCheckTest, NamesEveryTensorAtFault) {
  const ModelOptions options = Copy(
      [](const std::string& name, std::vector<int64_t>& dims) {
        if (name == kPositions) dims = {dims[0] * 2, dims[1] / 2};
        return name != kRouter && name != "model.layers.3.mlp.fc1.bias";
      },
      {"stranger"});
  const ModelCheck check = CheckModel(options);
  EXPECT_FALSE(check.servable());
  ASSERT_EQ(check.faults.size(), 3u);
  EXPECT_TRUE(Holds(check.faults[0], kRouter)) << check.faults[0];
  EXPECT_TRUE(Holds(check.faults[1], "model.layers.3.mlp.fc1.bias")) << check.faults[1];
  EXPECT_TRUE(Holds(check.faults[2], kPositions)) << check.faults[2];
  EXPECT_EQ(check.unused, (std::vector<std::string>{kPositions, "stranger"}));
  const std::string text = FormatCheck(check);
  EXPECT_TRUE(Holds(text, "\nunused_tensor: stranger\n")) << text;
  EXPECT_TRUE(Holds(text, "\nservable: no\n")) << text;
}

// Every expert of a layer at once, so that a reason is not lost among thousands.
TEST_F(ModelCheckTest, TensorsThatDifferInNumbersOnlyShareALine) {
  const ModelOptions options = Copy([](const std::string& name, std::vector<int64_t>& dims) {
    if (name.ends_with("deepspeed_experts.3.fc1.bias")) dims = {dims[0] / 2, 2};
    return !name.ends_with(".fc2.weight") || !Holds(name, "deepspeed_experts");
  });
  const ModelCheck check = CheckModel(options);
  ASSERT_EQ(check.faults.size(), 2u) << FormatCheck(check);
  EXPECT_TRUE(
      Holds(check.faults[0], "layers.0.mlp.deepspeed_moe.experts.deepspeed_experts.0.fc2.weight"));
  EXPECT_TRUE(Holds(check.faults[0], "and 7 more"))
      << "of two layers' four experts: " << check.faults[0];
  EXPECT_TRUE(Holds(check.faults[1], "deepspeed_experts.3.fc1.bias")) << check.faults[1];
  EXPECT_TRUE(Holds(check.faults[1], "and 1 more")) << check.faults[1];
}

TEST_F(ModelCheckTest, TensorsThatAreNotUsedShareALineToo) {
  const ModelOptions options = Copy([](const std::string&, std::vector<int64_t>&) { return true; },
                                    {"old.0.weight", "old.1.weight", "old.27.weight", "other"});
  const std::string text = FormatCheck(CheckModel(options));
  EXPECT_TRUE(Holds(text, "\nunused_tensors: 4\n")) << text;
  EXPECT_TRUE(Holds(text, "\nunused_tensor: old.0.weight (and 2 more")) << text;
  EXPECT_TRUE(Holds(text, "\nunused_tensor: other\n")) << text;
}

TEST_F(ModelCheckTest, SaysWhyNothingCouldBeLoaded) {
  ModelOptions options;
  options.model_dir = "/no/such/model";
  const ModelCheck check = CheckModel(options);
  ASSERT_EQ(check.faults.size(), 1u);
  EXPECT_TRUE(Holds(check.faults[0], "/no/such/model/config.json")) << check.faults[0];
  EXPECT_FALSE(check.info.has_value());
}

// A file's names must not forge lines of the answer.
TEST_F(ModelCheckTest, KeepsLinesWhole) {
  const ModelOptions options =
      Copy([](const std::string&, std::vector<int64_t>&) { return true; }, {"x\nservable: no"});
  const std::string text = FormatCheck(CheckModel(options));
  EXPECT_TRUE(Holds(text, "\nunused_tensor: x\\u{a}servable: no\n")) << text;
}

}  // namespace
}  // namespace tessera
