#include "engine/tokenizer/byte_pair.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace tessera {
namespace {

std::array<int32_t, 256> ByteIds() {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) ids[byte] = byte;
  return ids;
}

PreTokenizer OneWord() { return PreTokenizer::Create({}).value(); }

// The definition: again and again the pair of the lowest rank, the leftmost of them.
std::vector<int32_t> MergeNaively(const MergeTable& merges, const std::string& word) {
  std::vector<int32_t> ids(word.begin(), word.end());
  while (true) {
    uint32_t lowest = Merge::kNoRank;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const uint32_t rank = merges.Find(ids[i], ids[i + 1]).rank;
      if (rank < lowest) lowest = rank, place = i;
    }
    if (lowest == Merge::kNoRank) return ids;
    ids[place] = merges.Find(ids[place], ids[place + 1]).merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(BytePairTest, EqualsTheDefinition) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    MergeTable merges;
    int32_t next = 256;
    // Merges in any order, also such that a pair's parts come after it.
    std::vector<int32_t> tokens = {'a', 'b', 'c'};
    for (int i = 0; i < 12; ++i) {
      const auto pick = [&] { return tokens[random() % tokens.size()]; };
      merges.Add(pick(), pick(), next);
      tokens.push_back(next++);
    }
    std::string word;
    for (size_t length = 2 + random() % 60; length > 0; --length)
      word.push_back("abc"[random() % 3]);
    const std::vector<int32_t> expected = MergeNaively(merges, word);
    std::vector<int32_t> ids;
    BytePairSegmenter(OneWord(), ByteIds(), merges, {}).Segment({word}, &ids);
    ASSERT_EQ(ids, expected) << word;
  }
}

TEST(BytePairTest, WholeWordsComeBeforeMerges) {
  MergeTable merges;
  merges.Add('a', 'b', 256);
  const BytePairSegmenter segmenter(OneWord(), ByteIds(), merges, {{"abc", 300}});
  std::vector<int32_t> ids;
  segmenter.Segment({"abc"}, &ids);
  segmenter.Segment({"abx"}, &ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{300, 256, 'x'}));
}

TEST(BytePairTest, ALongWordTakesNoQuadraticTime) {
  MergeTable merges;
  int32_t token = 'a';
  for (int32_t next = 256; next < 266; ++next) {
    merges.Add(token, token, next);
    token = next;
  }
  const std::string text(1 << 19, 'a');
  std::vector<int32_t> ids;
  BytePairSegmenter(OneWord(), ByteIds(), merges, {}).Segment({text}, &ids);
  EXPECT_EQ(ids, std::vector<int32_t>(1 << 9, 265));
}

}  // namespace
}  // namespace tessera
