// The bytes of one fuzzed input as a file, for readers that take paths; overwritten by the next one
// of that name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/testing/temporary_directory.h"

namespace tessera::fuzz {

// A directory of this process, which goes away at its end.
inline const std::filesystem::path& Directory() {
  static const testing::TemporaryDirectory directory;
  return directory.path();
}

inline std::filesystem::path WriteInput(const std::string& name, const uint8_t* data, size_t size) {
  const std::filesystem::path path = Directory() / name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return path;
}

}  // namespace tessera::fuzz
