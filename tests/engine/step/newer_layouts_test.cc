// A checkpoint in the layouts of other versions of transformers gives the same answers, through the
// whole engine.
#include <gtest/gtest.h>

#include <map>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/engine.h"
#include "engine/load/model_check.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/data_path.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/token_requests.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path& Golden() {
  static const fs::path path = testing::DataPath("golden/models/qwen3_moe");
  return path;
}

class NewerLayoutsTest : public ::testing::Test {
 protected:
  // The golden model under another config.json.
  void Write(const fs::path& config) {
    for (const auto& file : fs::directory_iterator(Golden() / "model")) {
      fs::copy(file, dir() / file.path().filename(), fs::copy_options::overwrite_existing);
    }
    fs::copy(config, dir() / "config.json", fs::copy_options::overwrite_existing);
  }
  const fs::path& dir() const { return directory_.path(); }
  ModelOptions options() const {
    ModelOptions options;
    options.model_dir = dir();
    return options;
  }

  void ExpectGoldenTokens() {
    auto engine = StartEngine(MakeCpuBackend({}).value(), options(), {});
    ASSERT_TRUE(engine.ok()) << engine.status();
    const json expected = ReadJsonFile(Golden() / "expected.json").value();
    SamplingParams greedy;
    greedy.temperature = 0;
    for (const json& request : expected["requests"]) {
      const auto tokens = request["tokens"].get<std::vector<int32_t>>();
      const auto sink =
          testing::SubmitTokens(**engine, request["input_ids"].get<std::vector<int32_t>>(),
                                static_cast<int32_t>(tokens.size()), greedy);
      testing::AnswerOf(*sink);
      EXPECT_EQ(sink->token_ids(), tokens) << request["name"];
    }
  }

  testing::TemporaryDirectory directory_;
};

std::string Bytes(const StoredTensor& tensor) {
  return {static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes)};
}

// The tensors as transformers 5 holds them in memory and saves them where it is asked not to
// convert them back: all experts of a layer in two, rows of gate and up one below the other.
void FuseExperts(const fs::path& from, const fs::path& to) {
  const auto checkpoint = Checkpoint::Open({{from}}).value();
  testing::SafetensorsWriter writer;
  std::map<std::string, const StoredTensor*> tensors;
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    tensors[name] = &tensor;
    if (name.find("mlp.experts.") == std::string::npos)
      writer.Add(name, tensor.type, tensor.dims, Bytes(tensor));
  }
  for (const auto& [name, first] : tensors) {
    if (!name.ends_with("mlp.experts.0.gate_proj.weight")) continue;
    const std::string prefix = name.substr(0, name.find("0.gate_proj"));
    std::string ups, downs;
    int64_t experts = 0;
    for (; tensors.contains(prefix + std::to_string(experts) + ".gate_proj.weight"); ++experts) {
      const std::string expert = prefix + std::to_string(experts);
      ups += Bytes(*tensors[expert + ".gate_proj.weight"]) +
             Bytes(*tensors[expert + ".up_proj.weight"]);
      downs += Bytes(*tensors[expert + ".down_proj.weight"]);
    }
    const int64_t ffn = first->dims[0], hidden = first->dims[1];
    writer.Add(prefix + "gate_up_proj", first->type, {experts, 2 * ffn, hidden}, ups);
    writer.Add(prefix + "down_proj", first->type, {experts, hidden, ffn}, downs);
  }
  writer.Write(to);
}

TEST_F(NewerLayoutsTest, RopeParametersAreTheSameModel) {
  Write(testing::DataPath("golden/configs/qwen3_moe_v5/model/config.json"));
  ExpectGoldenTokens();
}

TEST_F(NewerLayoutsTest, ExpertsFusedInTwoTensorsAreTheSameModel) {
  Write(testing::DataPath("golden/configs/qwen3_moe_v5/model/config.json"));
  fs::remove(dir() / "model.safetensors");
  FuseExperts(Golden() / "model", dir() / "model.safetensors");
  const ModelCheck check = CheckModel(options());
  EXPECT_TRUE(check.servable() && check.unused.empty() && check.warnings.empty())
      << FormatCheck(check);
  ExpectGoldenTokens();
}

TEST_F(NewerLayoutsTest, ScaledPositionsAreRefusedByTheirKey) {
  Write(testing::DataPath("golden/configs/qwen3_moe_v5/config_yarn.json"));
  const ModelCheck check = CheckModel(options());
  ASSERT_EQ(check.faults.size(), 1u);
  EXPECT_NE(check.faults[0].find("\"rope_parameters.rope_type\" \"yarn\""), std::string::npos)
      << check.faults[0];
}

// As the library saves again what it has read: the same ModelSpec.
TEST_F(NewerLayoutsTest, ConfigsSavedByTransformers5AreTheSameModels) {
  for (const std::string name : {"llava_hf", "qwen3_vl_moe", "qwen3_moe"}) {
    const auto old = ReadModelSpec({testing::DataPath("golden/models/" + name + "/model")});
    auto saved = ReadModelSpec({testing::DataPath("golden/configs/" + name + "_v5/model")});
    ASSERT_TRUE(old.ok() && saved.ok()) << name << old.status() << saved.status();
    saved->parts = old->parts;
    EXPECT_TRUE(*saved == *old) << name;
  }
}

// The end token that only text_config names.
TEST_F(NewerLayoutsTest, EndTokensStandInTextConfigToo) {
  const fs::path golden = testing::DataPath("golden/models/qwen3_vl_moe/model");
  for (const auto& file : fs::directory_iterator(golden)) {
    fs::copy(file, dir() / file.path().filename(), fs::copy_options::overwrite_existing);
  }
  fs::remove(dir() / "generation_config.json");
  json config = ReadJsonFile(golden / "config.json").value();
  config["text_config"]["eos_token_id"] = {7, 9};
  testing::WriteFile(dir() / "config.json", config.dump());
  const ModelCheck check = CheckModel(options());
  ASSERT_TRUE(check.info.has_value()) << FormatCheck(check);
  EXPECT_EQ(check.info->eos_ids, (std::vector<int32_t>{7, 9}));
}

}  // namespace
}  // namespace tessera
