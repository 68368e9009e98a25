// Checks UTF-8 that comes in pieces. Tests: tests/server/message_scan_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tessera {

class Utf8Check {
 public:
  // The next piece. False once a byte was wrong; nothing more is taken then.
  bool Add(std::string_view piece);
  // After the last piece: where the first wrong character begins, in bytes from the start.
  std::optional<size_t> FirstError() const;

 private:
  bool Step(uint8_t byte);

  size_t position_ = 0;   // of the next byte
  size_t character_ = 0;  // where the one that is under way began
  int missing_ = 0;       // bytes that it lacks
  uint8_t low_ = 0x80;    // bounds of its next byte
  uint8_t high_ = 0xBF;
  bool failed_ = false;
};

}  // namespace tessera
