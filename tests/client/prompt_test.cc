// From what the user names to the request's input.
#include "client/prompt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tessera {
namespace {

class PromptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    image_ = Write("a.jpg", "A");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }

  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / ("prompt_test." + std::to_string(getpid()));
  std::string image_;
  PromptSource source_;
  v1::GenerateRequest request_;
};

TEST_F(PromptTest, ImagesComeBeforeTheQuestion) {
  source_.question = "Which?";
  source_.system = "Be brief.";
  source_.images = {image_, image_};
  ASSERT_TRUE(SetInput(source_, &request_).ok());
  ASSERT_EQ(request_.conversation().messages_size(), 2);
  EXPECT_EQ(request_.conversation().messages(0).role(), v1::ROLE_SYSTEM);
  const v1::Message& user = request_.conversation().messages(1);
  // "<image>\n<image>\nWhich?"
  ASSERT_EQ(user.parts_size(), 4);
  EXPECT_EQ(user.parts(0).image().data(), "A");
  EXPECT_EQ(user.parts(1).text(), "\n");
  EXPECT_TRUE(user.parts(2).has_image());
  EXPECT_EQ(user.parts(3).text(), "\nWhich?");
}

TEST_F(PromptTest, RawPromptsAndTokensTakeImages) {
  source_.raw = "USER: <image>\nHi";
  source_.images = {image_};
  ASSERT_TRUE(SetInput(source_, &request_).ok());
  EXPECT_EQ(request_.raw_prompt().text(), "USER: <image>\nHi");
  EXPECT_EQ(request_.raw_prompt().images_size(), 1);
  source_.raw.reset();
  source_.token_ids_file = Write("ids.json", "[1, -200, 31999]");
  ASSERT_TRUE(SetInput(source_, &request_).ok());
  EXPECT_EQ(request_.token_prompt().ids(1), -200);
  EXPECT_EQ(request_.token_prompt().images_size(), 1);
  EXPECT_TRUE(CountRequest(request_).has_token_prompt());
  EXPECT_FALSE(CountRequest(request_).has_max_image_tokens());
  request_.set_max_image_tokens(64);
  EXPECT_EQ(CountRequest(request_).max_image_tokens(), 64);
}

TEST_F(PromptTest, RefusesWhatDoesNotGoTogether) {
  source_.token_ids_file = Write("ids.json", "[1, 2.5]");
  EXPECT_NE(std::string(SetInput(source_, &request_).message()).find("[1] is 2.5"),
            std::string::npos);
  source_.token_ids_file = Write("ids.json", "[99999999999]");
  EXPECT_FALSE(SetInput(source_, &request_).ok());
  source_.token_ids_file = Write("ids.json", "{}");
  EXPECT_FALSE(SetInput(source_, &request_).ok());
  source_ = {};
  source_.messages_file = Write("m.json", R"([{"role": "user", "content": "a"}])");
  EXPECT_TRUE(SetInput(source_, &request_).ok());
  source_.images = {image_};
  EXPECT_FALSE(SetInput(source_, &request_).ok());
  source_ = {};
  source_.raw = "a";
  source_.system = "b";
  EXPECT_FALSE(SetInput(source_, &request_).ok());
}

}  // namespace
}  // namespace tessera
