#include "engine/tokenizer/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/base/status.h"

namespace tessera {
namespace {

StopStrings Make(const std::vector<std::string>& stops) {
  auto result = StopStrings::Create(stops);
  EXPECT_TRUE(result.ok()) << result.status();
  return std::move(result).value();
}

// What a reader gets in the end.
std::string Feed(StopStrings stops, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stops.Push(piece).emit;
  return text + stops.Finish();
}

TEST(StopStringsTest, CutsBeforeTheFirstThatIsComplete) {
  const struct {
    std::vector<std::string> stops, pieces;
    std::string expected;
  } cases[] = {
      {{}, {"a", "b"}, "ab"},
      {{"###"}, {"ab##", "#c"}, "ab"},
      {{"###"}, {"ab##", "c"}, "ab##c"},
      {{"###"}, {"ab##"}, "ab##"},
      {{"aab"}, {"aa", "aab", "x"}, "aa"},  // the beginning overlaps itself
      {{"abab"}, {"abaabab"}, "aba"},
      {{"stop", "st"}, {"a st", "op"}, "a "},  // a beginning of the other: complete first
      {{"b", "ab"}, {"xab"}, "x"},             // complete together: the longer
      {{"abcd", "bc"}, {"abcd"}, "a"},         // inside the other
      {{"USER:"}, {"hi US", "ER", ": more", "later"}, "hi "},
      {{"é"}, {"è", "caf\u00E9!"}, "ècaf"},
      {{"\n\n"}, {"a\n", "b\n", "\nc"}, "a\nb"},
  };
  for (const auto& test : cases) EXPECT_EQ(Feed(Make(test.stops), test.pieces), test.expected);
}

TEST(StopStringsTest, HoldsBackNoMoreThanItMust) {
  StopStrings stops = Make({"END", "NDX"});
  EXPECT_EQ(stops.Push("abE").emit, "ab");
  EXPECT_EQ(stops.Push("N").emit, "");
  EXPECT_EQ(stops.Push("E").emit, "EN");
  EXPECT_EQ(stops.Push("NQ").emit, "ENQ");
  EXPECT_FALSE(stops.matched());
  const StopStrings::Result last = stops.Push("zEND and more");
  EXPECT_EQ(last.emit, "z");
  EXPECT_TRUE(last.matched);
  EXPECT_EQ(stops.Push("after").emit, "");
  EXPECT_TRUE(stops.matched());
  EXPECT_EQ(stops.Finish(), "");
}

// The definition, without automata: the first end of a stop string, then the earliest beginning.
std::string CutNaively(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStringsTest, EqualsTheDefinitionHoweverTextIsCut) {
  std::mt19937 random(3);
  const auto word = [&](size_t length) {
    std::string text;
    while (text.size() < length) text.push_back(static_cast<char>('a' + random() % 2));
    return text;
  };
  int matched = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t count = random() % 4; count > 0; --count) stops.push_back(word(1 + random() % 6));
    const std::string text = word(random() % 30);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + random() % 5));
      at += pieces.back().size();
    }
    const std::string expected = CutNaively(stops, text);
    ASSERT_EQ(Feed(Make(stops), pieces), expected) << text;
    matched += expected.size() < text.size() ? 1 : 0;
  }
  EXPECT_GT(matched, 1000);
}

TEST(StopStringsTest, RefusesEmptyAndBrokenStrings) {
  const auto empty = StopStrings::Create({"a", ""});
  EXPECT_EQ(empty.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(empty.status()), "stop[1]");
  EXPECT_EQ(StatusField(StopStrings::Create({"\xFF"}).status()), "stop[0]");
}

}  // namespace
}  // namespace tessera
