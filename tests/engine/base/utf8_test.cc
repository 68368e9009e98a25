#include "engine/base/utf8.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

std::string Repair(std::string_view bytes, size_t* rest) {
  std::string text;
  *rest = bytes.size() - AppendRepairedUtf8(bytes, &text);
  return text;
}

struct RepairCase {
  std::string bytes;
  std::string text;
  size_t rest;  // bytes of a character that is cut off
};

TEST(Utf8Test, RepairsEachMaximalPart) {
  const RepairCase cases[] = {
      {"plain", "plain", 0},
      {"\xE6\xB8\xAF", "港", 0},
      {"\xF0\x9F\x98\x80", "😀", 0},
      {"A\xFF"
       "B",
       "A\uFFFDB", 0},
      {"\x80\x80", "\uFFFD\uFFFD", 0},
      {"\xC0\xAF", "\uFFFD\uFFFD", 0},                      // overlong
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD", 0},            // a surrogate
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD", 0},  // above U+10FFFF
      {"\xE6\xB8"
       "x",
       "\uFFFDx", 0},  // two bytes of three: one part
      {"\xF0\x9F\x98", "", 3},
      {"x\xE6", "x", 1},
      {std::string("\0\x01", 2), std::string("\0\x01", 2), 0},
  };
  for (const RepairCase& test : cases) {
    size_t rest = 99;
    EXPECT_EQ(Repair(test.bytes, &rest), test.text) << ::testing::PrintToString(test.bytes);
    EXPECT_EQ(rest, test.rest) << ::testing::PrintToString(test.bytes);
  }
}

TEST(Utf8Test, ValidationNamesTheByte) {
  EXPECT_TRUE(ValidateUtf8("").ok());
  EXPECT_TRUE(ValidateUtf8("naïve 港町 😀").ok());
  const absl::Status broken = ValidateUtf8("ab\xFF");
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusMessage(broken), "text is not valid UTF-8 at byte 2 (0xFF)");
  EXPECT_FALSE(ValidateUtf8("cut \xE6\xB8").ok());
}

TEST(Utf8Test, EveryCodePointComesBack) {
  for (char32_t point = 0; point <= 0x10FFFF; ++point) {
    if (point >= 0xD800 && point < 0xE000) continue;
    std::string text;
    AppendUtf8(point, &text);
    const Utf8Part part = NextUtf8Part(text);
    ASSERT_EQ(part.kind, Utf8Kind::kCharacter) << static_cast<uint32_t>(point);
    ASSERT_EQ(part.length, text.size()) << static_cast<uint32_t>(point);
    ASSERT_TRUE(part.code_point == point) << static_cast<uint32_t>(point);
  }
}

}  // namespace
}  // namespace tessera
