// Memory of the device, and that of one step.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/step_arena.h"
#include "gpu/runtime.h"

namespace tessera {

// 256-byte aligned memory of the device, freed with the object.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // RESOURCE_EXHAUSTED when there is not enough. Not zeroed; of 0 bytes not null either.
  static absl::StatusOr<DeviceMemory> Allocate(size_t bytes);
  static absl::Status Exhausted(size_t bytes);

  void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* data) const { gpu::Free(data); }
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

using DeviceArena = StepArena<DeviceMemory, 256, size_t{16} << 20>;

}  // namespace tessera
