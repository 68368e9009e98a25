#include "engine/tokenizer/unigram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <random>
#include <string>

namespace tessera {
namespace {

constexpr double kUnknownScore = -20;

// The best sum of scores over all ways to cut `text`, whose characters are single bytes.
double BestScore(const std::map<std::string, double>& scores, const std::string& text) {
  std::vector<double> best(text.size() + 1, -std::numeric_limits<double>::infinity());
  best[0] = 0;
  for (size_t end = 1; end <= text.size(); ++end) {
    for (size_t begin = 0; begin < end; ++begin) {
      const auto piece = scores.find(text.substr(begin, end - begin));
      if (piece != scores.end()) best[end] = std::max(best[end], best[begin] + piece->second);
    }
    if (!scores.contains(text.substr(end - 1, 1))) {
      best[end] = std::max(best[end], best[end - 1] + kUnknownScore);
    }
  }
  return best.back();
}

TEST(UnigramTest, TakesTheBestWay) {
  std::mt19937 random(17);
  const auto word = [&](size_t longest) {
    std::string text;
    for (size_t i = 1 + random() % longest; i > 0; --i) text.push_back("abcd"[random() % 4]);
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::map<std::string, double> scores;
    for (int i = 0; i < 12; ++i) scores[word(4)] = -1 - static_cast<double>(random() % 1000) / 100;
    std::vector<Unigram::Piece> pieces;
    std::vector<std::string> texts = {"?"};
    for (const auto& [text, score] : scores) {
      pieces.push_back({text, static_cast<int32_t>(texts.size()), score});
      texts.push_back(text);
    }
    const Unigram unigram(pieces, kUnknownScore, Unigram::Precision::kDouble,
                          {.byte_ids = {}, .unknown = 0, .fuse = false});
    const std::string text = word(30);
    std::vector<int32_t> ids;
    unigram.Append(text, &ids);
    double sum = 0;
    size_t bytes = 0;
    for (const int32_t id : ids) {
      sum += id == 0 ? kUnknownScore : scores.at(texts[static_cast<size_t>(id)]);
      bytes += texts[static_cast<size_t>(id)].size();
    }
    EXPECT_EQ(bytes, text.size());
    EXPECT_NEAR(sum, BestScore(scores, text), 1e-9) << text;
  }
}

TEST(UnigramTest, UnknownNeighboursShareOneTokenOrBecomeBytes) {
  const std::vector<Unigram::Piece> pieces = {{"a", 1, -1}};
  std::vector<int32_t> ids;
  Unigram(pieces, kUnknownScore, Unigram::Precision::kSingle,
          {.byte_ids = {}, .unknown = 0, .fuse = true})
      .Append("\u00e9\u00e9a\u00e9", &ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 0}));
  UnknownCharacters bytes{.byte_ids = std::array<int32_t, 256>{}, .unknown = 0, .fuse = true};
  for (int byte = 0; byte < 256; ++byte) (*bytes.byte_ids)[byte] = 10 + byte;
  ids.clear();
  Unigram(pieces, kUnknownScore, Unigram::Precision::kSingle, bytes).Append("a\u00e9", &ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 10 + 0xC3, 10 + 0xA9}));
}

TEST(UnigramTest, ALongTextTakesNoQuadraticTime) {
  const std::vector<Unigram::Piece> pieces = {{"a", 1, -1}, {"aaaa", 2, -1.5}};
  std::vector<int32_t> ids;
  Unigram(pieces, kUnknownScore, Unigram::Precision::kSingle, {})
      .Append(std::string(1 << 20, 'a'), &ids);
  EXPECT_EQ(ids, std::vector<int32_t>(1 << 18, 2));
}

}  // namespace
}  // namespace tessera
