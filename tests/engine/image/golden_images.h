// The image files under tests/golden/images with what Pillow and transformers make of them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/sha256.h"
#include "engine/image/image.h"
#include "tests/testing/data_path.h"

namespace tessera::testing {

inline std::string ReadImageFile(const std::string& name) {
  std::ifstream file(DataPath("golden/images") / name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// One entry per file: `file`, `width`, `height`, `rgb_sha256` and `<family><size>_<mode>_sha256`.
inline nlohmann::json GoldenImages() {
  return nlohmann::json::parse(ReadImageFile("expected.json"))["images"];
}

inline std::string HexDigest(const std::vector<uint8_t>& bytes) {
  std::string hex;
  for (const uint8_t byte : Sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {
    hex += fmt::format("{:02x}", byte);
  }
  return hex;
}

// Pixels from a linear congruential generator (Knuth's constants), the same on every machine.
inline Image NoiseImage(int width, int height) {
  Image image{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  uint32_t state = static_cast<uint32_t>(width) * 65536 + static_cast<uint32_t>(height);
  for (uint8_t& sample : image.rgb) {
    state = state * 1664525u + 1013904223u;
    sample = static_cast<uint8_t>(state >> 24);
  }
  return image;
}

}  // namespace tessera::testing
