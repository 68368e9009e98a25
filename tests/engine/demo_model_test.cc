// The demonstration model through the engine against what its training code gives
// (models/demo/oracle.json): prompt ids and greedy answers in float32, for the example images.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/cpu/make_cpu_backend.h"
#include "engine/engine.h"
#include "tests/testing/collecting_sink.h"
#include "tests/testing/data_path.h"

namespace tessera {
namespace {

std::string ReadDemoFile(const std::string& name) {
  std::ifstream file(testing::DataPath("../models/demo") / name, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_FALSE(bytes.str().empty()) << name;
  return bytes.str();
}

TEST(DemoModelTest, AnswersAsItsTrainingCodeDoes) {
  auto backend = MakeCpuBackend({});
  ASSERT_TRUE(backend.ok());
  ModelOptions model;
  model.model_dir = testing::DataPath("../models/demo/checkpoint");
  model.vision_tower_dir = testing::DataPath("../models/demo/vision_tower");
  auto engine = StartEngine(*std::move(backend), model, {});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->model().experts, 4);

  const nlohmann::json oracle = nlohmann::json::parse(ReadDemoFile("oracle.json"));
  ASSERT_GT(oracle.size(), 5u);
  for (const nlohmann::json& entry : oracle) {
    Request request;
    Message message;
    message.parts.emplace_back(
        EncodedImage{ReadDemoFile("images/" + entry["image"].get<std::string>()), ""});
    message.parts.emplace_back("\n" + entry["question"].get<std::string>());
    request.input = std::vector<Message>{message};
    auto sink = std::make_shared<testing::CollectingSink>();
    ASSERT_TRUE((*engine)->Submit(request, sink).ok());
    sink->Wait();
    EXPECT_TRUE(sink->completion().status.ok()) << sink->completion().status;
    EXPECT_EQ(sink->prompt().token_ids, entry["prompt_token_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(sink->token_ids(), entry["token_ids"].get<std::vector<int32_t>>())
        << entry["question"];
    EXPECT_EQ(sink->text(), " " + entry["text"].get<std::string>());
  }
}

}  // namespace
}  // namespace tessera
