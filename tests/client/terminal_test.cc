// What may reach a terminal.
#include "client/terminal.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(TerminalSafe, DropsControlCharacters) {
  EXPECT_EQ(TerminalSafe("a\x1b[31mb\r\b\x7f\n\tc"), "a[31mb\n\tc");
  // U+009B is CSI in one character.
  EXPECT_EQ(TerminalSafe("a\xc2\x9b"
                         "31m"),
            "a31m");
  EXPECT_EQ(TerminalSafe("é ü 中 🙂 \xc2\xa0"), "é ü 中 🙂 \xc2\xa0");
  EXPECT_EQ(TerminalSafe(std::string("\0x", 2)), "x");
}

TEST(TerminalWords, CannotLeaveTheirLineOrTurnIt) {
  EXPECT_EQ(TerminalWords("a\nb\tc\x1b[31m"), "a b c[31m");
  EXPECT_EQ(TerminalWords("a\u2028b\u2029c"), "abc");
  EXPECT_EQ(TerminalWords("\u202aa\u202b\u202c\u202d\u202eb\u2066\u2067\u2068\u2069"), "ab");
  EXPECT_EQ(TerminalWords("\u200e\u200f\u061cשלום"), "שלום");
}

}  // namespace
}  // namespace tessera
