// Where the tests' data lies: DataPath("golden/images") is <source>/tests/golden/images.
#pragma once

#include <filesystem>
#include <string_view>

namespace tessera::testing {

inline std::filesystem::path DataPath(std::string_view relative) {
  return std::filesystem::path(TESSERA_SOURCE_DIR) / "tests" / relative;
}

}  // namespace tessera::testing
