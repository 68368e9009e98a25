// The scans of a JPEG file, found by walking its markers (ITU-T T.81, annex B) without decoding
// anything: each is a pass of the decoder over the coefficients of its components.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

struct JpegScan {
  int components = 0;
  std::array<uint8_t, 4> ids = {};  // of its components
};

// In order, `limit` at most. What follows a broken marker is not read: neither does the decoder.
std::vector<JpegScan> FindJpegScans(std::string_view bytes, size_t limit);

}  // namespace tessera
