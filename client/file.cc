#include "client/file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace tessera {
namespace {

constexpr size_t kMaxFileBytes = 64 << 20;

absl::Status Unreadable(const std::filesystem::path& path, const std::string& why) {
  return absl::InvalidArgumentError(fmt::format("cannot read {}: {}", path.string(), why));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return Unreadable(path, "it is a directory");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Unreadable(path, std::strerror(errno));
  std::string bytes;
  char block[1 << 16];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    bytes.append(block, static_cast<size_t>(file.gcount()));
    if (bytes.size() > kMaxFileBytes) return Unreadable(path, "it is larger than 64 MiB");
  }
  if (file.bad()) return Unreadable(path, std::strerror(errno));
  return bytes;
}

absl::Status WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  const int error = errno;  // formatting may change it
  if (file) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("cannot write {}: {}", path.string(), std::strerror(error)));
}

absl::StatusOr<v1::Image> LoadImage(const std::filesystem::path& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path);
  if (!bytes.ok()) return bytes.status();
  v1::Image image;
  image.set_data(*std::move(bytes));
  return image;
}

}  // namespace tessera
