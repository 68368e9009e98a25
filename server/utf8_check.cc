#include "server/utf8_check.h"

#include <cstring>

namespace tessera {

bool Utf8Check::Add(std::string_view piece) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  size_t i = 0;
  while (!failed_ && i < piece.size()) {
    uint64_t word = 0;
    if (missing_ == 0 && piece.size() - i >= sizeof(word)) {
      std::memcpy(&word, piece.data() + i, sizeof(word));
      if ((word & kHighBits) == 0) {
        i += sizeof(word);
        position_ += sizeof(word);
        continue;
      }
    }
    failed_ = !Step(static_cast<uint8_t>(piece[i++]));
  }
  return !failed_;
}

// Unicode 15, table 3-7: well-formed byte sequences.
bool Utf8Check::Step(uint8_t byte) {
  const size_t at = position_++;
  if (missing_ > 0) {
    if (byte < low_ || byte > high_) return false;
    low_ = 0x80;
    high_ = 0xBF;
    --missing_;
    return true;
  }
  character_ = at;
  if (byte < 0x80) return true;
  if (byte < 0xC2 || byte > 0xF4) return false;
  missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  if (byte == 0xE0) low_ = 0xA0;
  if (byte == 0xED) high_ = 0x9F;
  if (byte == 0xF0) low_ = 0x90;
  if (byte == 0xF4) high_ = 0x8F;
  return true;
}

std::optional<size_t> Utf8Check::FirstError() const {
  if (!failed_ && missing_ == 0) return std::nullopt;
  return character_;
}

}  // namespace tessera
