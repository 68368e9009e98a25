// Files that the user names on the command line.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

// The whole file, at most 64 MiB of it. INVALID_ARGUMENT "cannot read PATH: …" otherwise.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

// Replaces the file.
absl::Status WriteFile(const std::filesystem::path& path, const std::string& bytes);

// The file's bytes; the server recognises and checks the kind.
absl::StatusOr<v1::Image> LoadImage(const std::filesystem::path& path);

}  // namespace tessera
