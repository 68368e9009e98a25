#include "engine/base/utf8.h"

#include <fmt/format.h>

#include <cstdint>

namespace tessera {
namespace {

struct Lead {
  size_t length;  // 0: begins no character
  uint8_t second_first,
      second_last;  // the second byte's range, which rules out surrogates and overlong forms
};

// Table 3-7 of the Unicode Standard, "Well-Formed UTF-8 Byte Sequences".
Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Part NextUtf8Part(std::string_view bytes) {
  const auto first = static_cast<uint8_t>(bytes[0]);
  const Lead lead = LeadOf(first);
  if (lead.length == 0) return {Utf8Kind::kBroken, 1, 0};
  if (lead.length == 1) return {Utf8Kind::kCharacter, 1, first};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Kind::kIncomplete, i, 0};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.second_first : 0x80;
    const uint8_t high = i == 1 ? lead.second_last : 0xBF;
    if (byte < low || byte > high) return {Utf8Kind::kBroken, i, 0};
    code_point = (code_point << 6) | (byte & 0x3Fu);
  }
  return {Utf8Kind::kCharacter, lead.length, code_point};
}

absl::Status ValidateUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Part part = NextUtf8Part(text.substr(at));
    if (part.kind != Utf8Kind::kCharacter) {
      return absl::InvalidArgumentError(fmt::format("text is not valid UTF-8 at byte {} (0x{:02X})",
                                                    at, static_cast<uint8_t>(text[at])));
    }
    at += part.length;
  }
  return absl::OkStatus();
}

size_t AppendRepairedUtf8(std::string_view bytes, std::string* out, Repair repair) {
  size_t at = 0;
  while (at < bytes.size()) {
    const Utf8Part part = NextUtf8Part(bytes.substr(at));
    if (part.kind == Utf8Kind::kIncomplete) break;
    if (part.kind == Utf8Kind::kCharacter) {
      out->append(bytes.substr(at, part.length));
    } else {
      const size_t marks = repair == Repair::kPerPart ? 1 : part.length;
      for (size_t i = 0; i < marks; ++i) out->append(kReplacementCharacter);
    }
    at += part.length;
  }
  return at;
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto tail = [&](int shift) {
    out->push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)));
  };
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    tail(0);
  } else if (code_point < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    tail(6);
    tail(0);
  } else {
    out->push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace tessera
