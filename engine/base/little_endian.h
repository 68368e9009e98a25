// Unsigned integers as files store them, least significant byte first.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera {

// The `size` (at most 8) bytes from `at` on, which must be there.
inline uint64_t LittleEndian(std::string_view bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

}  // namespace tessera
