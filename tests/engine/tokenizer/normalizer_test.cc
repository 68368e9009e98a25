#include "engine/tokenizer/normalizer.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>
#include <string>

#include "engine/base/utf8.h"

namespace tessera {
namespace {

std::string Nfc(const std::string& text) {
  MarkedText marked;
  marked.Append(text, SpecialTokens::kText);
  const auto normalized = NormalizeNfc(marked.view());
  if (!normalized.has_value()) return text;
  EXPECT_EQ(normalized->marks.size(), normalized->text.size());
  return normalized->text;
}

TEST(NormalizerTest, ComposesAndKeeps) {
  const struct {
    std::string text, expected;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"é", "é"},
      {"e\u0301", "é"},
      {"港町", "港町"},
      {"\u1112\u1161\u11AB", "한"},       // Hangul jamo
      {"\u212B", "Å"},                    // a singleton
      {"\u0958", "\u0915\u093C"},         // a composition exclusion
      {"a\u0301\u0323", "\u1EA1\u0301"},  // reordered
      {"\uFB01", "\uFB01"},               // compatibility characters stay
      {">\u0338", "\u226F"},
      {"\u0338x", "\u0338x"},
      {std::string("a\0e\u0301", 5), std::string("a\0é", 4)},
  };
  for (const auto& test : cases) EXPECT_EQ(Nfc(test.text), test.expected) << test.text;
}

TEST(NormalizerTest, EqualsNormalizingTheWholeTextAtOnce) {
  std::mt19937 random(7);
  const char32_t points[] = {'a',    'e',    '>',    ' ',    0xE9,   0x301,  0x323,  0x338,
                             0x345,  0x5B0,  0x915,  0x93C,  0x1100, 0x1161, 0x11A8, 0xAC00,
                             0x212B, 0x2ADC, 0x3046, 0x3099, 0x6E2F, 0x1D15E};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t length = random() % 12; length > 0; --length) {
      AppendUtf8(points[random() % std::size(points)], &text);
    }
    auto* whole = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
    EXPECT_EQ(Nfc(text), reinterpret_cast<char*>(whole)) << ::testing::PrintToString(text);
    std::free(whole);
  }
}

TEST(NormalizerTest, MarksStayWithTheirBytes) {
  MarkedText text;
  text.Append("<|end|>", SpecialTokens::kParse);
  text.Append("港e\u0301", SpecialTokens::kText);
  const auto normalized = NormalizeNfc(text.view());
  ASSERT_TRUE(normalized.has_value());
  EXPECT_EQ(normalized->text, "<|end|>港é");
  EXPECT_EQ(normalized->marks, std::string(7, static_cast<char>(SpecialTokens::kParse)) +
                                   std::string(5, static_cast<char>(SpecialTokens::kText)));
}

TEST(NormalizerTest, WhatIsComposedAcrossABorderIsNotTrusted) {
  MarkedText text;
  text.Append("<|end|>", SpecialTokens::kParse);
  text.Append("\u0338", SpecialTokens::kText);
  const auto normalized = NormalizeNfc(text.view());
  ASSERT_TRUE(normalized.has_value());
  EXPECT_EQ(normalized->text, "<|end|\u226F");
  EXPECT_EQ(normalized->marks.substr(6), std::string(3, static_cast<char>(SpecialTokens::kText)));
}

TEST(NormalizerTest, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  EXPECT_EQ(Nfc(text).substr(0, 3), "\u1EA1");
}

}  // namespace
}  // namespace tessera
