// Prompts of models whose vocabulary has a token for pictures.
#include "engine/input/preparer.h"

#include <gtest/gtest.h>

#include "engine/status.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using Ids = std::vector<int32_t>;

constexpr int kRows = 4;

class PictureTokenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto files = testing::TokenizerFiles::Make("GPT2Tokenizer", {});
    files.AddToken("<image>", /*special=*/true);
    files.WriteSlow(directory_.path());
    tokenizer_ = Tokenizer::Load(directory_.path()).value();
    picture_ = tokenizer_->FindToken("<image>").value();
    format_.rows = kRows;
    format_.token = picture_;
  }
  absl::StatusOr<PreparedPrompt> Tokenize(Input input, bool parse = false) const {
    Request request;
    request.input = std::move(input);
    request.parse_special_tokens = parse;
    return Preparer(*tokenizer_, PromptFormat::kLlavaHf, format_,
                    {.max_images = 16, .image = {}, .max_context = 1000})
        .Tokenize(request);
  }
  Ids IdsOf(const std::string& text) const {
    return tokenizer_->Encode(text, SpecialTokens::kText);
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
  PictureFormat format_;
  int32_t picture_ = 0;
};

Ids Joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST_F(PictureTokenTest, AConversation) {
  Message message;
  message.parts = {"What?", EncodedImage()};
  const auto prompt = Tokenize(std::vector<Message>{message});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids,
            Joined({IdsOf("USER: "), {kImagePlaceholder}, IdsOf("\nWhat? ASSISTANT:")}));
  ASSERT_EQ(prompt->spans.size(), 1u);
  EXPECT_EQ(prompt->spans[0].begin, 6);
  EXPECT_EQ(prompt->spans[0].rows, kRows);
}

TEST_F(PictureTokenTest, ATypedPictureStaysTextOrHasNoPicture) {
  Message message;
  message.parts = {"<image>"};
  const auto text = Tokenize(std::vector<Message>{message});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_TRUE(text->spans.empty());
  const absl::Status parsed = Tokenize(std::vector<Message>{message}, true).status();
  EXPECT_EQ(parsed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(parsed), "conversation");
}

TEST_F(PictureTokenTest, IdsHaveItsTokenOnceForAPictureOrForEachRow) {
  const Ids expected = {65, kImagePlaceholder, 66, kImagePlaceholder, 67};
  const std::vector<EncodedImage> two(2);
  const Ids once = {65, picture_, 66, picture_, 67};
  Ids wide = {65};
  wide.insert(wide.end(), kRows, picture_);
  wide.push_back(66);
  wide.insert(wide.end(), kRows, picture_);
  wide.push_back(67);
  const Ids ours = expected;
  for (const Ids& ids : {once, wide, ours}) {
    const auto prompt = Tokenize(TokenPrompt{ids, two});
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(prompt->ids, expected);
  }
  const absl::Status missing = Tokenize(TokenPrompt{once, {}}).status();
  EXPECT_EQ(StatusField(missing), "token_prompt.images");
}

TEST_F(PictureTokenTest, ARawPrompt) {
  const auto prompt = Tokenize(RawPrompt{"<image>a<image>", std::vector<EncodedImage>(2)});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids, Joined({{kImagePlaceholder}, IdsOf("a"), {kImagePlaceholder}}));
}

}  // namespace
}  // namespace tessera
