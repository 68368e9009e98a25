#include "engine/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/base/failed_download.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

absl::Status OpenError(const std::filesystem::path& path, int error) {
  const std::string message = fmt::format("{}: {}", path.string(), std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES) return absl::PermissionDeniedError(message);
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return OpenError(path, errno);
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    return absl::InvalidArgumentError(fmt::format("{}: not a regular file", path.string()));
  }
  std::unique_ptr<MappedFile> file(new MappedFile(path, descriptor, info));
  RETURN_IF_ERROR(file->Map());
  if (const std::string fault = FailedDownload(file->bytes()); !fault.empty()) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", path.string(), fault));
  }
  return file;
}

absl::Status MappedFile::Map() {
  const auto size = static_cast<size_t>(opened_.st_size);
  if (size == 0) return absl::OkStatus();
  void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file_, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    return absl::ResourceExhaustedError(
        fmt::format("{}: cannot map {} bytes: {}", path_.string(), size, std::strerror(error)));
  }
  data_ = data;
  size_ = size;
  guard_.emplace(path_.string(), data, size);
  madvise(data, size, MADV_SEQUENTIAL);
  return absl::OkStatus();
}

MappedFile::~MappedFile() {
  guard_.reset();
  if (data_ != nullptr) munmap(data_, size_);
  close(file_);
}

absl::Status MappedFile::CheckUnchanged() const {
  struct stat now;
  if (fstat(file_, &now) == 0 && now.st_size == opened_.st_size &&
      now.st_mtim.tv_sec == opened_.st_mtim.tv_sec &&
      now.st_mtim.tv_nsec == opened_.st_mtim.tv_nsec) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "{}: has changed while it was read; start again when the file is whole", path_.string()));
}

void MappedFile::WillNeed(const void* begin, size_t size) const {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = address / page * page;
  madvise(reinterpret_cast<void*>(first), address + size - first, MADV_WILLNEED);
}

void MappedFile::Release(const void* begin, size_t size) const {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (address + page - 1) / page * page;
  const uintptr_t last = (address + size) / page * page;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace tessera
