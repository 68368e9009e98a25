#include "cuda/device_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera {
absl::StatusOr<DeviceMemory> DeviceMemory::Allocate(size_t bytes) {
  DeviceMemory memory;
  memory.data_.reset(gpu::Allocate(std::max<size_t>(bytes, 1)));
  if (memory.data_ == nullptr) return Exhausted(bytes);
  memory.bytes_ = bytes;
  return memory;
}

absl::Status DeviceMemory::Exhausted(size_t bytes) {
  return absl::ResourceExhaustedError(fmt::format(
      "the GPU has no {} MiB free; use a smaller model or --kv-cache-mib", bytes >> 20));
}

}  // namespace tessera
