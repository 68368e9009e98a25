// Names the file when a mapped one can no longer be read. Touching a mapped page that the file no
// longer has, because it was cut meanwhile or its disk failed, raises SIGBUS; what was being
// computed from it is lost, so the process says which file it was and ends with status 1.
#pragma once

#include <cstddef>
#include <string>

namespace tessera {

// While one lives, SIGBUS at an address of its range ends the process so. SIGBUS elsewhere does
// what it did before the first one was made. Made and destroyed by any thread, while no thread
// touches its range.
class MappingGuard {
 public:
  MappingGuard(std::string path, const void* begin, size_t size);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  // The guard of the range that holds `address`; null for none. Async-signal-safe.
  static const MappingGuard* Find(const void* address);
  const char* path() const { return path_.c_str(); }
  size_t size() const { return size_; }

 private:
  std::string path_;
  const char* begin_;
  size_t size_;
  MappingGuard* older_ = nullptr;
};

}  // namespace tessera
