// Reads the directory of a zip archive, with the 64-bit extensions (PKWARE, APPNOTE.TXT 6.3.10,
// §4.3 and §4.5.3). Nothing is decompressed.
//
// Nothing in the file is trusted: every offset is checked in 64 bits, and no two files may share
// bytes.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tessera {

struct ZipFile {
  std::string_view bytes;
  bool compressed = false;  // then `bytes` are not its content
};
using ZipFiles = std::map<std::string, ZipFile>;

// The files of the archive `bytes`, by name. Errors name the file in the archive, where one is at
// fault.
absl::StatusOr<ZipFiles> ReadZip(std::string_view bytes);

}  // namespace tessera
