#include "engine/request/answer.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/base/status.h"
#include "tests/testing/data_path.h"

namespace tessera {
namespace {

class AnswerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::Load(testing::DataPath("golden/tokenizers/tiny_phi"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
  }

  Answer Make(const std::vector<std::string>& stops) const {
    auto answer = Answer::Create(*tokenizer_, stops);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return *std::move(answer);
  }
  int32_t Byte(char value) const { return tokenizer_->FindToken(std::string(1, value)).value(); }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(AnswerTest, RefusesStopStringsThatAreNoText) {
  for (const std::string& stop : {std::string(), std::string("a\xFF"), std::string("\xE6\xB8")}) {
    const auto answer = Answer::Create(*tokenizer_, {"fine", stop});
    ASSERT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusField(answer.status()), "stop[1]");
  }
}

TEST_F(AnswerTest, HoldsBackHalfCharactersAndHalfStopStrings) {
  Answer answer = Make({"##"});
  EXPECT_EQ(answer.Push(Byte('a'), true).text, "a");
  EXPECT_EQ(answer.Push(Byte('\xC3'), true).text, "");
  EXPECT_EQ(answer.Push(Byte('\xA9'), true).text, "é");
  EXPECT_EQ(answer.Push(Byte('#'), true).text, "");
  EXPECT_EQ(answer.Push(Byte('b'), true).text, "#b");
  EXPECT_EQ(answer.Push(Byte('#'), true).text, "");
  EXPECT_EQ(answer.Finish(), "#");
}

TEST_F(AnswerTest, CutsAtAStopStringForGood) {
  Answer answer = Make({"##"});
  answer.Push(Byte('x'), true);
  EXPECT_FALSE(answer.Push(Byte('#'), true).stopped);
  const Answer::Text last = answer.Push(Byte('#'), true);
  EXPECT_TRUE(last.stopped);
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(answer.Finish(), "");
}

TEST_F(AnswerTest, AnUnfinishedCharacterBecomesAReplacement) {
  Answer answer = Make({});
  EXPECT_EQ(answer.Push(Byte('\xE6'), true).text, "");
  EXPECT_EQ(answer.Push(Byte('\xB8'), true).text, "");
  EXPECT_EQ(answer.Finish(), "\uFFFD");
  EXPECT_EQ(answer.Finish(), "");
}

TEST_F(AnswerTest, AnUnfinishedCharacterFollowsWhatAStopStringHeldBack) {
  Answer answer = Make({"##"});
  EXPECT_EQ(answer.Push(Byte('#'), true).text, "");
  EXPECT_EQ(answer.Push(Byte('\xE6'), true).text, "");
  EXPECT_EQ(answer.Finish(), "#\uFFFD");
}

TEST_F(AnswerTest, StopStringsCountFromTheFirstTokenThatMayStop) {
  Answer answer = Make({"##"});
  EXPECT_EQ(answer.Push(Byte('#'), false).text, "#");
  EXPECT_EQ(answer.Push(Byte('#'), false).text, "#");
  EXPECT_FALSE(answer.Push(Byte('#'), true).stopped) << "its other half came before it counted";
  const Answer::Text last = answer.Push(Byte('#'), true);
  EXPECT_TRUE(last.stopped);
  EXPECT_EQ(last.text + answer.Finish(), "");
}

TEST_F(AnswerTest, ControlTokensWriteNothing) {
  Answer answer = Make({"ab"});
  EXPECT_EQ(answer.Push(Byte('a'), true).text, "");
  EXPECT_EQ(answer.Push(tokenizer_->eos().value(), true).text, "");
  EXPECT_TRUE(answer.Push(Byte('b'), true).stopped);
}

// Pieces joined are the decoded text up to the first stop string, however tokens cut it.
TEST_F(AnswerTest, JoinsToTheDecodedTextUpToTheStop) {
  std::mt19937 random(11);
  const std::string letters = "ab\xC3\xA9";
  int stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string stop = std::vector<std::string>{"aab", "bb", "é", "abab"}[random() % 4];
    Answer answer = Make({stop});
    std::vector<int32_t> ids;
    std::string text;
    bool done = false;
    for (int i = 0; i < 12 && !done; ++i) {
      ids.push_back(Byte(letters[random() % letters.size()]));
      const Answer::Text piece = answer.Push(ids.back(), true);
      text += piece.text;
      done = piece.stopped;
    }
    text += answer.Finish();
    const std::string whole = tokenizer_->Decode(ids, /*skip_special=*/true);
    const size_t at = whole.find(stop);
    EXPECT_EQ(done, at != std::string::npos) << whole;
    EXPECT_EQ(text, whole.substr(0, at)) << whole << " stop " << stop;
    stopped += done ? 1 : 0;
  }
  EXPECT_GT(stopped, 500);
  EXPECT_LT(stopped, 2900);
}

}  // namespace
}  // namespace tessera
