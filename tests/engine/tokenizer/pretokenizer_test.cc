#include "engine/tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

using Pieces = std::vector<std::string>;

PreTokenizer Make(std::vector<std::string> patterns) {
  auto splitter = PreTokenizer::Create(patterns);
  EXPECT_TRUE(splitter.ok()) << splitter.status();
  return std::move(splitter).value();
}

Pieces Split(const PreTokenizer& splitter, std::string_view text) {
  Pieces pieces;
  for (const std::string_view piece : splitter.Split(text)) pieces.emplace_back(piece);
  return pieces;
}

struct SplitCase {
  std::string text;
  Pieces pieces;
};

TEST(PreTokenizerTest, Gpt2Pattern) {
  const PreTokenizer splitter = Make({std::string(kGpt2Pattern)});
  const SplitCase cases[] = {
      {"", {}},
      {"Hello world", {"Hello", " world"}},
      {"a  b", {"a", " ", " b"}},
      {"a \n", {"a", " \n"}},
      {"I'll 'S we'Re", {"I", "'ll", " '", "S", " we", "'", "Re"}},
      {"1234 5", {"1234", " 5"}},
      {"x²½Ⅷ〇", {"x", "²½Ⅷ〇"}},
      {"naïve港町", {"naïve港町"}},
      {"a\u00A0b", {"a", "\u00A0", "b"}},
      {"a\u0085b", {"a", "\u0085", "b"}},
      {"a\u180E\u200B\uFEFF b", {"a", "\u180E\u200B\uFEFF", " b"}},  // no White_Space
      {"a\u001C\u001Db", {"a", "\u001C\u001D", "b"}},
      {"e\u0301x", {"e", "\u0301", "x"}},
      {std::string("a\0\0", 3), {"a", std::string("\0\0", 2)}},
  };
  for (const SplitCase& test : cases)
    EXPECT_EQ(Split(splitter, test.text), test.pieces) << test.text;
}

TEST(PreTokenizerTest, QwenPattern) {
  const PreTokenizer splitter = Make({std::string(kQwenPattern)});
  const SplitCase cases[] = {
      {"1234", {"1", "2", "3", "4"}},
      {"I'LL it's", {"I", "'LL", " it", "'s"}},
      {"a'\u017Fb", {"a", "'\u017F", "b"}},  // long s is an s in any case
      {"a’s", {"a", "’s"}},
      {"(x) \n\n  y", {"(x", ")", " \n\n", " ", " y"}},
      {"!!\n\nz", {"!!\n\n", "z"}},
      {"\tx", {"\tx"}},
  };
  for (const SplitCase& test : cases)
    EXPECT_EQ(Split(splitter, test.text), test.pieces) << test.text;
}

TEST(PreTokenizerTest, PatternsFollowEachOtherAndKeepWhatTheyDoNotMatch) {
  const PreTokenizer splitter = Make({R"(\p{N}{1,3})", "b"});
  EXPECT_EQ(Split(splitter, "abc12345cba"), (Pieces{"a", "b", "c", "123", "45", "c", "b", "a"}));
  EXPECT_EQ(Split(Make({}), "one piece"), (Pieces{"one piece"}));
  EXPECT_EQ(Split(Make({"x*"}), "axxb"), (Pieces{"a", "xx", "b"}));
}

TEST(PreTokenizerTest, LongRunsAreOnePiece) {
  for (const std::string_view pattern : {kGpt2Pattern, kQwenPattern}) {
    const PreTokenizer splitter = Make({std::string(pattern)});
    for (const char byte : {' ', 'a', '#', '\n'}) {
      EXPECT_EQ(splitter.Split(std::string(1 << 20, byte)).size(), 1u) << byte;
    }
    EXPECT_EQ(splitter.Split(std::string(1 << 20, ' ') + "x").size(), 2u);
  }
}

TEST(PreTokenizerTest, RefusesWhatItDoesNotUnderstand) {
  EXPECT_EQ(PreTokenizer::Create({"(a"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PreTokenizer::Create({R"(\h+)"}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(PreTokenizer::Create({"[a&&b]"}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace tessera
