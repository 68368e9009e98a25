#include "engine/tokenizer/sentencepiece_vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/testing/sentencepiece_writer.h"

namespace tessera {
namespace {

using testing::BytePairFile;
using testing::SentencePieceWriter;
using Ids = std::vector<int32_t>;

SentencePieceModel Parse(const SentencePieceWriter& writer) {
  return ParseSentencePieceModel(writer.Finish()).value();
}

Ids Encode(const SentencePieceModel& model, std::string_view text) {
  Ids ids;
  MakePieceModel(model)->Append(text, &ids);
  return ids;
}

// The definition, over texts of single bytes: of all neighbours that join to a piece those with the
// highest score, the leftmost of them.
Ids MergeNaively(const SentencePieceModel& model, const std::string& text) {
  std::vector<std::string> parts;
  for (const char byte : text) parts.emplace_back(1, byte);
  while (true) {
    size_t place = parts.size();
    float best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto id = PieceId(model, parts[i] + parts[i + 1]);
      if (!id.has_value()) continue;
      const float score = model.pieces[static_cast<size_t>(*id)].score;
      if (place == parts.size() || score > best) place = i, best = score;
    }
    if (place == parts.size()) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) {
    const int32_t id = PieceId(model, part).value_or(model.unknown);
    if (id != model.unknown || ids.empty() || ids.back() != id) ids.push_back(id);
  }
  return ids;
}

TEST(SentencePieceVocabularyTest, PairsEqualTheDefinition) {
  std::mt19937 random(23);
  const auto word = [&](size_t least, size_t most) {
    std::string text;
    for (size_t i = least + random() % (most - least + 1); i > 0; --i) {
      text.push_back("abcd"[random() % 4]);
    }
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    SentencePieceWriter writer = BytePairFile();
    writer.Specials();
    std::vector<std::string> texts;  // not every character, and scores with ties
    for (int i = 0; i < 14; ++i) {
      const std::string text = word(1, 4);
      if (std::find(texts.begin(), texts.end(), text) != texts.end()) continue;
      texts.push_back(text);
      writer.Piece(text, -static_cast<float>(random() % 8));
    }
    const SentencePieceModel model = Parse(writer);
    const std::string text = word(1, 40);
    EXPECT_EQ(Encode(model, text), MergeNaively(model, text)) << text;
  }
}

TEST(SentencePieceVocabularyTest, UnusedPiecesAreMergedAndTakenApart) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Piece("a", -9).Piece("b", -9).Piece("c", -9);   // 3, 4, 5
  writer.Piece("ab", -1, 5).Piece("abc", -2, 5).Piece("abca", -3);  // 6, 7, 8
  const SentencePieceModel model = Parse(writer);
  EXPECT_EQ(Encode(model, "ab"), (Ids{3, 4}));
  EXPECT_EQ(Encode(model, "abc"), (Ids{3, 4, 5}));
  EXPECT_EQ(Encode(model, "abca"), (Ids{8}));
}

TEST(SentencePieceVocabularyTest, UserDefinedPiecesAreCutOutFirst) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Piece("a", -9).Piece("b", -9).Piece("ab", -1).Piece("aab", -1);  // 3 to 6
  writer.Piece("aa", 0, 4).Piece("aaa", 0, 4);                                       // 7, 8
  const SentencePieceModel model = Parse(writer);
  EXPECT_EQ(Encode(model, "aab"), (Ids{7, 4}));
  EXPECT_EQ(Encode(model, "aaaab"), (Ids{8, 5}));
}

TEST(SentencePieceVocabularyTest, ControlAndBytePiecesMatchNoText) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Bytes();
  writer.Piece("<", -1).Piece("s", -2).Piece("<s", -3);  // 259, 260, 261
  const SentencePieceModel model = Parse(writer);
  EXPECT_EQ(Encode(model, "<s>"), (Ids{261, 3 + '>'}));
  EXPECT_EQ(Encode(model, "\u00e9"), (Ids{3 + 0xC3, 3 + 0xA9}));
}

TEST(SentencePieceVocabularyTest, ALongRunTakesNoQuadraticTime) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials();
  for (int length = 1; length <= 16; length *= 2) {
    writer.Piece(std::string(static_cast<size_t>(length), 'a'), -static_cast<float>(length));
  }
  EXPECT_EQ(Encode(Parse(writer), std::string(1 << 20, 'a')), Ids(1 << 16, 7));
}

}  // namespace
}  // namespace tessera
