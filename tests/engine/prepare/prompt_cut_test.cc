// LLaVA-MoLE's prompts are cut after 3064 ids, of which the image is one: the context of 4096
// less 1024 for the answer and 8.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/prepare/preparer.h"
#include "tests/testing/images.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

constexpr size_t kMaxIds = 3064;
constexpr int32_t kImageRows = 4;

class PromptCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::TokenizerFiles::Make("GPT2Tokenizer", {}).WriteSlow(directory_.path());
    tokenizer_ = Tokenizer::Load(directory_.path()).value();
    images_.rows = kImageRows;
  }
  absl::StatusOr<PreparedPrompt> Tokenize(Input input,
                                          PromptFormat format = PromptFormat::kLlavaMole) const {
    Request request;
    request.input = std::move(input);
    return testing::PromptOf(Preparer(*tokenizer_, format, images_,
                                      {.max_images = 16, .image = {}, .max_context = 10'000}),
                             request);
  }
  // A conversation about an image; each letter is one id.
  absl::StatusOr<PreparedPrompt> Ask(size_t letters,
                                     PromptFormat format = PromptFormat::kLlavaMole) const {
    Message message;
    message.parts = {EncodedImage{testing::BlankPng(2, 2), ""}, std::string(letters, 'a')};
    return Tokenize(std::vector<Message>{message}, format);
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ImageFormat images_;
};

TEST_F(PromptCutTest, WhatIsBeyondIsLeftOut) {
  const auto short_prompt = Ask(1);
  ASSERT_TRUE(short_prompt.ok()) << short_prompt.status();
  const size_t fitting = kMaxIds - short_prompt->ids.size() + 1;  // letters
  const auto whole = Ask(fitting);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->ids.size(), kMaxIds);
  EXPECT_EQ(whole->ids.back(), ' ') << "the end of \"ASSISTANT: \"";
  EXPECT_EQ(whole->rows.size(), kMaxIds - 1 + kImageRows);

  const auto cut = Ask(fitting + 1);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->ids.size(), kMaxIds);
  EXPECT_EQ(cut->ids.back(), ':');
  EXPECT_EQ(cut->rows.size(), kMaxIds - 1 + kImageRows);
  ASSERT_EQ(cut->spans.size(), 1u);

  const auto long_cut = Ask(5000);
  ASSERT_TRUE(long_cut.ok()) << long_cut.status();
  EXPECT_EQ(long_cut->ids.size(), kMaxIds);
  EXPECT_EQ(long_cut->ids.back(), 'a');
}

TEST_F(PromptCutTest, OtherTemplatesKeepAll) {
  const auto prompt = Ask(5000, PromptFormat::kVicunaV1);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_GT(prompt->ids.size(), 5000u);
}

TEST_F(PromptCutTest, ARawPromptIsCutAndKeepsItsImage) {
  const std::vector<EncodedImage> one(1, EncodedImage{testing::BlankPng(2, 2), ""});
  const auto cut = Tokenize(RawPrompt{"<image>" + std::string(4000, 'a'), one});
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->ids.size(), kMaxIds);
  const absl::Status lost = Tokenize(RawPrompt{std::string(4000, 'a') + "<image>", one}).status();
  EXPECT_EQ(lost.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(lost), "raw_prompt.images");
}

}  // namespace
}  // namespace tessera
