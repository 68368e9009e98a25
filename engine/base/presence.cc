#include "engine/base/presence.h"

#include <fmt/format.h>

#include <system_error>

namespace tessera {
namespace {

namespace fs = std::filesystem;

absl::Status CannotReach(const fs::path& path, const std::error_code& error) {
  const std::string message =
      fmt::format("{}: cannot be reached: {}", path.string(), error.message());
  return error == std::errc::permission_denied ? absl::PermissionDeniedError(message)
                                               : absl::InvalidArgumentError(message);
}

bool MeansAbsent(const std::error_code& error) {
  return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
}

}  // namespace

absl::StatusOr<bool> IsThere(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path, error)) return true;
  if (error && !MeansAbsent(error)) return CannotReach(path, error);
  if (!fs::is_symlink(path, error)) return false;
  return absl::InvalidArgumentError(
      fmt::format("{}: is a symbolic link to {}, which is not there; fetch the model again",
                  path.string(), fs::read_symlink(path, error).string()));
}

absl::Status CheckDirectory(const fs::path& path) {
  const absl::StatusOr<bool> there = IsThere(path);
  if (!there.ok()) return there.status();
  if (!*there) return absl::NotFoundError(fmt::format("{}: is not there", path.string()));
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(fmt::format("{}: is no directory", path.string()));
  }
  fs::directory_iterator(path, error);
  return error ? CannotReach(path, error) : absl::OkStatus();
}

}  // namespace tessera
