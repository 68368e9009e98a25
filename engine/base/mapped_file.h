// A file mapped read-only into memory.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/mapping_guard.h"

namespace tessera {

class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (no regular file, or what a failed download
  // left: FailedDownload), naming the path. A file that becomes shorter while it is mapped ends the
  // process when what is gone is touched (MappingGuard).
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  // INVALID_ARGUMENT, naming the path, if the file was written to since Open(): what was read from
  // it may be neither the old nor the new content.
  absl::Status CheckUnchanged() const;
  // Tells the kernel that these bytes are needed soon: it reads them while the caller works on
  // others.
  void WillNeed(const void* begin, size_t size) const;
  // Tells the kernel that these bytes are not needed again soon, so that a loaded checkpoint does
  // not stay resident twice.
  void Release(const void* begin, size_t size) const;

 private:
  MappedFile(std::filesystem::path path, int file, const struct stat& opened)
      : path_(std::move(path)), file_(file), opened_(opened) {}
  absl::Status Map();

  std::filesystem::path path_;
  int file_;  // descriptor
  struct stat opened_;
  void* data_ = nullptr;
  size_t size_ = 0;
  std::optional<MappingGuard> guard_;
};

}  // namespace tessera
