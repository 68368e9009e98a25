#include "engine/tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/base/utf8.h"
#include "tests/testing/data_path.h"

namespace tessera {
namespace {

class DetokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::Load(testing::DataPath("golden/tokenizers/tiny_phi"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = std::move(*loaded);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(DetokenizerTest, EmitsWholeCharactersOnly) {
  Detokenizer detokenizer(*tokenizer_, /*skip_special=*/true);
  const auto byte = [&](char value) {
    return tokenizer_->FindToken(std::string(1, value)).value();
  };
  EXPECT_EQ(detokenizer.Push(byte('\xE6')), "");
  EXPECT_EQ(detokenizer.Push(tokenizer_->eos().value()), "");
  EXPECT_EQ(detokenizer.Push(byte('\xB8')), "");
  EXPECT_EQ(detokenizer.Push(byte('\xAF')), "港");
  EXPECT_EQ(detokenizer.Push(byte('\xE6')), "");
  EXPECT_EQ(detokenizer.Push(byte('a')), "\uFFFDa");
  EXPECT_EQ(detokenizer.Push(byte('\xF0')), "");
  EXPECT_EQ(detokenizer.Push(byte('\x9F')), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST_F(DetokenizerTest, JoinsToWhatDecodeGives) {
  std::mt19937 random(5);
  const std::string samples[] = {"港町の朝は早い。", "naïve 😀 x", "\u0301\u0085\uFEFF"};
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids;
    for (size_t length = random() % 20; length > 0; --length) {
      if (random() % 4 == 0) {  // part of a real text
        auto real =
            tokenizer_->Encode(samples[random() % std::size(samples)], SpecialTokens::kNone);
        real.resize(random() % (real.size() + 1));
        ids.insert(ids.end(), real.begin(), real.end());
      } else {  // any id, also none of a token
        ids.push_back(static_cast<int32_t>(random() % (tokenizer_->vocabulary() + 4)) - 2);
      }
    }
    for (const bool skip_special : {false, true}) {
      Detokenizer detokenizer(*tokenizer_, skip_special);
      std::string text;
      for (const int32_t id : ids) {
        const std::string more = detokenizer.Push(id);
        ASSERT_TRUE(ValidateUtf8(more).ok());
        text += more;
      }
      text += detokenizer.Finish();
      ASSERT_EQ(text, tokenizer_->Decode(ids, skip_special));
    }
  }
}

}  // namespace
}  // namespace tessera
