// Whether a file of a model directory is there, which is not the same as whether it can be reached.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"

namespace tessera {

// False only where there is nothing of this name. PERMISSION_DENIED or INVALID_ARGUMENT, naming the
// path, where that cannot be told (a directory that may not be entered, a loop of symbolic links),
// and for a symbolic link to what is not there.
absl::StatusOr<bool> IsThere(const std::filesystem::path& path);

// OK for a directory that can be listed; else what it is instead, naming the path.
absl::Status CheckDirectory(const std::filesystem::path& path);

}  // namespace tessera
