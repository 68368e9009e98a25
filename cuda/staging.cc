#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"

namespace tessera {

Staging::~Staging() {
  if (memory_ != nullptr) gpu::FreeHost(memory_);
}

char* Staging::Take(size_t bytes) {
  TESSERA_CHECK(open_);
  if (memory_ == nullptr) {
    memory_ = static_cast<char*>(gpu::AllocateHost(kBytes));
    TESSERA_CHECK_MSG(memory_ != nullptr, "no page-locked memory for uploads");
  }
  char* result = memory_ + offset_;
  offset_ += (bytes + 63) / 64 * 64;
  return result;
}

void Staging::Upload(const void* source, size_t bytes, void* device) {
  // In halves, so that one is filled while the other is copied.
  for (size_t begin = 0; begin < bytes;) {
    const size_t part = std::min(bytes - begin, kBytes / 2);
    if (!HasRoom(part)) {
      gpu::Synchronize(stream_);
      offset_ = 0;
    }
    char* staged = Take(part);
    std::memcpy(staged, static_cast<const char*>(source) + begin, part);
    gpu::CopyToDevice(static_cast<char*>(device) + begin, staged, part, stream_);
    begin += part;
  }
}

}  // namespace tessera
