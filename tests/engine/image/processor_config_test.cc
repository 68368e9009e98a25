#include "engine/image/processor_config.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

class ProcessorConfigTest : public ::testing::Test {
 protected:
  void Write(const std::string& file, const json& value) const {
    testing::WriteFile(directory_.path() / file, value.dump());
  }
  absl::StatusOr<ProcessorConfig> Read() const {
    return ReadProcessorConfig(directory_.path(), "Qwen3-VL");
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(ProcessorConfigTest, EachVersionsPlaceIsRead) {
  const json four = {{"patch_size", 16}, {"crop_size", nullptr}, {"image_processor_type", "AFast"}};
  const json five = {{"patch_size", 16}, {"merge_size", 2}, {"image_processor_type", "A"}};
  Write("video_preprocessor_config.json", {{"patch_size", 3}});
  Write("preprocessor_config.json", four);
  auto config = Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->settings, (json{{"patch_size", 16}, {"image_processor_type", "AFast"}}));
  EXPECT_TRUE(config->place.ends_with("/preprocessor_config.json"));

  Write("processor_config.json", {{"processor_class", "LlavaProcessor"}, {"patch_size", 14}});
  EXPECT_EQ(Read()->settings["patch_size"], 16) << "not nested: the processor's own keys";

  Write("processor_config.json", {{"image_processor", five}, {"video_processor", {{"fps", 2}}}});
  config = Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->settings, five);
  EXPECT_TRUE(config->place.ends_with("/processor_config.json image_processor")) << config->place;
  EXPECT_TRUE(config->warnings.empty());

  json other = four;
  other["patch_size"] = 8;
  Write("preprocessor_config.json", other);
  config = Read();
  ASSERT_EQ(config->warnings.size(), 1u);
  EXPECT_NE(config->warnings[0].find("they differ in patch_size"), std::string::npos);
  EXPECT_EQ(config->settings["patch_size"], 16);

  std::filesystem::remove(directory_.path() / "preprocessor_config.json");
  EXPECT_EQ(Read()->settings, five);
  Write("preprocessor_config.json", {{"image_processor", five}});
  std::filesystem::remove(directory_.path() / "processor_config.json");
  EXPECT_EQ(Read()->settings, five);
}

TEST_F(ProcessorConfigTest, WhatIsMissingIsNamedWithWhoWantsIt) {
  for (const bool unnested : {false, true}) {
    if (unnested) Write("processor_config.json", {{"processor_class", "Qwen3VLProcessor"}});
    const absl::Status status = Read().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_NE(StatusMessage(status).find(
                  "neither preprocessor_config.json nor processor_config.json with "
                  "\"image_processor\" is there; Qwen3-VL takes from it how images are resized"),
              std::string::npos)
        << status;
  }
  Write("processor_config.json", {{"image_processor", "CLIPImageProcessor"}});
  EXPECT_NE(StatusMessage(Read().status()).find("image_processor: must be an object"),
            std::string::npos);
  Write("processor_config.json", json::array());
  EXPECT_FALSE(Read().ok());
}

}  // namespace
}  // namespace tessera
