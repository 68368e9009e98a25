#include "engine/base/escape_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <iterator>

namespace tessera {
namespace {

bool IsHarmful(utf8proc_int32_t character) {
  switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

// Calls character(code point, its bytes) and byte(value) for what `text` is made of.
template <typename OnCharacter, typename OnByte>
void ForEach(std::string_view text, const OnCharacter& character, const OnByte& byte) {
  while (!text.empty()) {
    utf8proc_int32_t code = 0;
    const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                        static_cast<utf8proc_ssize_t>(text.size()), &code);
    if (bytes > 0) {
      character(code, text.substr(0, static_cast<size_t>(bytes)));
    } else {
      byte(static_cast<unsigned char>(text.front()));
    }
    text.remove_prefix(bytes > 0 ? static_cast<size_t>(bytes) : 1);
  }
}

// `special`: characters that also get a backslash before them.
std::string Escape(std::string_view text, std::string_view special) {
  std::string line;
  line.reserve(text.size());
  ForEach(
      text,
      [&](utf8proc_int32_t code, std::string_view bytes) {
        if (IsHarmful(code)) {
          fmt::format_to(std::back_inserter(line), "\\u{{{:x}}}", code);
          return;
        }
        if (bytes.size() == 1 && special.find(bytes.front()) != special.npos) line += '\\';
        line += bytes;
      },
      [&](unsigned char byte) { fmt::format_to(std::back_inserter(line), "\\x{:02x}", byte); });
  return line;
}

void AppendJsonCharacter(utf8proc_int32_t code, std::string& text) {
  if (code == '"' || code == '\\') {
    text += '\\';
    text += static_cast<char>(code);
  } else if (code >= 0x20 && code < 0x7F) {
    text += static_cast<char>(code);
  } else if (code < 0x10000) {
    fmt::format_to(std::back_inserter(text), "\\u{:04x}", code);
  } else {
    const utf8proc_int32_t above = code - 0x10000;  // a pair of UTF-16's surrogates
    fmt::format_to(std::back_inserter(text), "\\u{:04x}\\u{:04x}", 0xD800 + (above >> 10),
                   0xDC00 + (above & 0x3FF));
  }
}

}  // namespace

std::string EscapeText(std::string_view text) { return Escape(text, ""); }

std::string QuoteText(std::string_view text) { return '"' + Escape(text, "\"\\") + '"'; }

std::string JsonText(std::string_view text) {
  std::string json = "\"";
  ForEach(
      text, [&](utf8proc_int32_t code, std::string_view) { AppendJsonCharacter(code, json); },
      [&](unsigned char byte) { fmt::format_to(std::back_inserter(json), "\\\\x{:02x}", byte); });
  return json + '"';
}

}  // namespace tessera
