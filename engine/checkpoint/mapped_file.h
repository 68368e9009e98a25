// A file mapped read-only into memory.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

namespace tessera {

class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (no regular file), naming the path.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  // Tells the kernel that these bytes are needed soon: it reads them while the caller works on others.
  void WillNeed(const void* begin, size_t size) const;
  // Tells the kernel that these bytes are not needed again soon, so that a loaded checkpoint does not stay resident twice.
  void Release(const void* begin, size_t size) const;

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}

  void* data_;
  size_t size_;
};

}  // namespace tessera
