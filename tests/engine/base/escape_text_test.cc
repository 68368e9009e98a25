// No text from outside can end a line, pretend to be a field, move a cursor or hide.
#include "engine/base/escape_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tessera {
namespace {

struct Case {
  const char* what;
  std::string text;
  std::string escaped;
};

const Case kCases[] = {
    {"nothing", "", ""},
    {"words", "a b-c_d.e:f", "a b-c_d.e:f"},
    {"letters of any script", "é 中 שלום 🙂", "é 中 שלום 🙂"},
    {"a space that does not break", "a\u00a0b", "a\u00a0b"},
    {"new line", "a\nb", "a\\u{a}b"},
    {"carriage return, tab", "a\r\tb", "a\\u{d}\\u{9}b"},
    {"NUL", std::string("a\0b", 3), "a\\u{0}b"},
    {"ESC", "a\x1b[31m", "a\\u{1b}[31m"},
    {"DEL", "a\x7f", "a\\u{7f}"},
    {"CSI in one character (C1)", "a\u009b31m", "a\\u{9b}31m"},
    {"next line (C1)", "a\u0085b", "a\\u{85}b"},
    {"separators of lines and paragraphs", "a\u2028b\u2029c", "a\\u{2028}b\\u{2029}c"},
    {"embeddings and overrides", "\u202a\u202b\u202c\u202d\u202e",
     "\\u{202a}\\u{202b}\\u{202c}\\u{202d}\\u{202e}"},
    {"isolates", "\u2066\u2067\u2068\u2069", "\\u{2066}\\u{2067}\\u{2068}\\u{2069}"},
    {"marks of direction", "\u200e\u200f\u061c", "\\u{200e}\\u{200f}\\u{61c}"},
    {"without width", "a\u200bb\u2060c\ufeff", "a\\u{200b}b\\u{2060}c\\u{feff}"},
    {"tags", "a\U000e0041", "a\\u{e0041}"},
    {"a byte alone", "a\x9f", "a\\x9f"},
    {"a character cut short", "a\xe2\x82", "a\\xe2\\x82"},
    {"overlong NUL", "\xc0\x80", "\\xc0\\x80"},
    {"a surrogate", "\xed\xa0\x80", "\\xed\\xa0\\x80"},
    {"above Unicode", "\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
};

TEST(EscapeTextTest, WhatIsHarmfulBecomesAnEscape) {
  for (const Case& one : kCases) {
    EXPECT_EQ(EscapeText(one.text), one.escaped) << one.what;
    EXPECT_EQ(QuoteText(one.text), '"' + one.escaped + '"') << one.what;
  }
}

TEST(EscapeTextTest, QuotesCannotBeLeft) {
  EXPECT_EQ(QuoteText("a\" code=OK b=\"\\"), R"("a\" code=OK b=\"\\")");
  EXPECT_EQ(EscapeText("a\"\\"), "a\"\\");
}

TEST(EscapeTextTest, JsonIsAsciiAndReadBackAsTheSameText) {
  for (const Case& one : kCases) {
    const std::string json = JsonText(one.text);
    for (const char c : json) EXPECT_TRUE(c >= 0x20 && c < 0x7F) << one.what;
    const bool utf8 = one.escaped.find("\\x") == std::string::npos;
    EXPECT_EQ(nlohmann::json::parse(json).get<std::string>(), utf8 ? one.text : one.escaped)
        << one.what;
  }
  EXPECT_EQ(JsonText("\"\\🙂\u202e"), R"("\"\\\ud83d\ude42\u202e")");
}

}  // namespace
}  // namespace tessera
