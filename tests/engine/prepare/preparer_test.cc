// Prompts of models whose vocabulary has a token for images, of one size or of any.
#include "engine/prepare/preparer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <tuple>

#include "engine/base/status.h"
#include "tests/testing/data_path.h"
#include "tests/testing/images.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using Ids = std::vector<int32_t>;

constexpr int kRows = 4;

using testing::PromptOf;

EncodedImage Blank(int width, int height) { return {testing::BlankPng(width, height), ""}; }

class ImageTokenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto files = testing::TokenizerFiles::Make("GPT2Tokenizer", {});
    files.AddToken("<image>", /*special=*/true);
    files.WriteSlow(directory_.path());
    tokenizer_ = Tokenizer::Load(directory_.path()).value();
    image_ = tokenizer_->FindToken("<image>").value();
    format_.rows = kRows;
    format_.token = image_;
  }
  absl::StatusOr<PreparedPrompt> Tokenize(Input input, bool parse = false) const {
    Request request;
    request.input = std::move(input);
    request.parse_special_tokens = parse;
    return PromptOf(Preparer(*tokenizer_, PromptFormat::kLlavaHf, format_,
                             {.max_images = 16, .image = {}, .max_context = 1000}),
                    request);
  }
  Ids IdsOf(const std::string& text) const {
    return tokenizer_->Encode(text, SpecialTokens::kText);
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ImageFormat format_;
  int32_t image_ = 0;
};

Ids Joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST_F(ImageTokenTest, AConversation) {
  Message message;
  message.parts = {"What?", Blank(2, 2)};
  const auto prompt = Tokenize(std::vector<Message>{message});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids,
            Joined({IdsOf("USER: "), {kImagePlaceholder}, IdsOf("\nWhat? ASSISTANT:")}));
  ASSERT_EQ(prompt->spans.size(), 1u);
  EXPECT_EQ(prompt->spans[0].begin, 6);
  EXPECT_EQ(prompt->spans[0].rows, kRows);
}

TEST_F(ImageTokenTest, ATypedImageStaysTextOrHasNoImage) {
  Message message;
  message.parts = {"<image>"};
  const auto text = Tokenize(std::vector<Message>{message});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_TRUE(text->spans.empty());
  const absl::Status parsed = Tokenize(std::vector<Message>{message}, true).status();
  EXPECT_EQ(parsed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(parsed), "conversation");
}

TEST_F(ImageTokenTest, IdsHaveItsTokenOnceForAnImageOrForEachRow) {
  const Ids expected = {65, kImagePlaceholder, 66, kImagePlaceholder, 67};
  const std::vector<EncodedImage> two(2, Blank(2, 2));
  const Ids once = {65, image_, 66, image_, 67};
  Ids wide = {65};
  wide.insert(wide.end(), kRows, image_);
  wide.push_back(66);
  wide.insert(wide.end(), kRows, image_);
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

TEST_F(ImageTokenTest, ARawPrompt) {
  const auto prompt =
      Tokenize(RawPrompt{"<image>a<image>", std::vector<EncodedImage>(2, Blank(2, 2))});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids, Joined({{kImagePlaceholder}, IdsOf("a"), {kImagePlaceholder}}));
}

class NativeImageTest : public ImageTokenTest {
 protected:
  void SetUp() override {
    ImageTokenTest::SetUp();
    format_.taken = true;
    format_.native = NativeSize{
        .patch_size = 16, .merge = 2, .frames = 2, .min_pixels = 1024, .max_pixels = 64 * 1024};
  }
  absl::StatusOr<PreparedPrompt> TokenizeWithin(Input input, int32_t server,
                                                std::optional<int32_t> own) const {
    Request request;
    request.input = std::move(input);
    request.max_image_tokens = own;
    return PromptOf(
        Preparer(*tokenizer_, PromptFormat::kQwen3Vl, format_,
                 {.max_images = 16, .image = {}, .max_context = 1000, .max_image_tokens = server}),
        request);
  }
};

TEST_F(NativeImageTest, EachTakesTheRowsOfItsShape) {
  const auto prompt =
      TokenizeWithin(TokenPrompt{{65, image_, 66, image_}, {Blank(96, 64), Blank(64, 64)}}, 0, {});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  ASSERT_EQ(prompt->spans.size(), 2u);
  EXPECT_EQ(prompt->spans[0].rows, 6);
  EXPECT_EQ(prompt->spans[1].begin, 8);
  EXPECT_EQ(prompt->spans[1].rows, 4);
  ASSERT_TRUE(prompt->positions.has_value());
  EXPECT_EQ(prompt->positions->axes[0], (Ids{0, 1, 1, 1, 1, 1, 1, 4, 5, 5, 5, 5}));
  EXPECT_EQ(prompt->positions->axes[1], (Ids{0, 1, 1, 1, 2, 2, 2, 4, 5, 5, 6, 6}));
  EXPECT_EQ(prompt->positions->axes[2], (Ids{0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 5, 6}));
  EXPECT_EQ(prompt->positions->next, 7);
  EXPECT_EQ(prompt->positions->At(2, 12), 7) << "decoding goes on";
}

TEST_F(NativeImageTest, IdsMayHaveAnImagesTokenForEachOfItsRows) {
  Ids wide = {65};
  wide.insert(wide.end(), 6, image_);
  wide.insert(wide.end(), 4, image_);  // images may touch
  const std::vector<EncodedImage> images = {Blank(96, 64), Blank(64, 64)};
  const auto prompt = TokenizeWithin(TokenPrompt{wide, images}, 0, {});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids, (Ids{65, kImagePlaceholder, kImagePlaceholder}));

  wide.pop_back();
  const absl::Status few = TokenizeWithin(TokenPrompt{wide, images}, 0, {}).status();
  EXPECT_EQ(few.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(few), "token_prompt.ids[7]");
  EXPECT_NE(few.message().find("takes 4 tokens, here are 3"), std::string::npos) << few;
  wide.insert(wide.end(), 2, image_);
  EXPECT_FALSE(TokenizeWithin(TokenPrompt{wide, images}, 0, {}).ok());
}

TEST_F(NativeImageTest, PlaceholdersAndTokensMayMix) {
  Ids ids = {kImagePlaceholder, 65};
  ids.insert(ids.end(), 4, image_);
  const auto prompt = TokenizeWithin(TokenPrompt{ids, {Blank(96, 64), Blank(64, 64)}}, 0, {});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids, (Ids{kImagePlaceholder, 65, kImagePlaceholder}));
}

TEST_F(NativeImageTest, LimitsShrinkImages) {
  const struct {
    int32_t server;
    std::optional<int32_t> own;
    int rows;
  } cases[] = {
      {0, {}, 64}, {16, {}, 16}, {16, 100, 16}, {16, 4, 4}, {0, 9, 9}, {1, {}, 1},
  };
  for (const auto& test : cases) {
    const auto prompt =
        TokenizeWithin(TokenPrompt{{image_}, {Blank(512, 512)}}, test.server, test.own);
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(prompt->spans[0].rows, test.rows);
  }
}

TEST_F(NativeImageTest, SaysWhichImagesWereReduced) {
  std::ifstream file(testing::DataPath("golden/models/qwen3_vl_moe/images/bars.png"),
                     std::ios::binary);
  const EncodedImage bars = {{std::istreambuf_iterator<char>(file), {}}, ""};  // 90 × 70
  format_.patch_size = 16;
  for (const auto& [limit, rows, reduced] : {std::tuple(6, 6, 0), std::tuple(4, 2, 2)}) {
    Request request;
    request.input = TokenPrompt{{image_, image_}, {bars, bars}};
    request.max_image_tokens = limit;
    const auto prompt = Preparer(*tokenizer_, PromptFormat::kQwen3Vl, format_,
                                 {.max_images = 16, .image = {}, .max_context = 1000})
                            .Prepare(request);
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(prompt->reduced_images, reduced);
    ASSERT_EQ(prompt->images.size(), 2u);
    EXPECT_EQ(prompt->images[1]->rows, rows);
    EXPECT_EQ(prompt->images[1]->patches.size(), static_cast<size_t>(rows) * 4 * 3 * 2 * 16 * 16);
    EXPECT_EQ(prompt->images[0]->digest, prompt->images[1]->digest);
  }
}

TEST_F(NativeImageTest, AStripIsRefused) {
  const absl::Status strip =
      TokenizeWithin(TokenPrompt{{image_}, {Blank(10000, 1)}}, 0, {}).status();
  EXPECT_EQ(strip.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(strip), "token_prompt.images[0]");
  EXPECT_NE(strip.message().find("10000x1"), std::string::npos) << strip;
}

}  // namespace
}  // namespace tessera
