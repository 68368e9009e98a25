// Text from outside made fit for a line of a log or a report. Control and format characters,
// separators of lines (Unicode's categories Cc, Cf, Zl and Zp) and bytes that are no UTF-8 become
// escapes, so that no text can end the line, move a terminal's cursor, turn the order of what is
// read or hide. Tests: tests/engine/base/escape_text_test.cc.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// "\u{202e}" for a character, "\x9f" for a byte.
std::string EscapeText(std::string_view text);
// The same in quotes; quotes and backslashes within it are escaped, too, so that no text can
// pretend to be another field of the line.
std::string QuoteText(std::string_view text);
// A string of JSON in ASCII, read back as the same text; a byte that is no UTF-8 as "\x9f".
std::string JsonText(std::string_view text);

}  // namespace tessera
