// Device memory of one step: a bump allocator over chunks. Reset() keeps the memory, as one chunk
// of the most that any step has used, so that a steady state allocates nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
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

class DeviceArena {
 public:
  static constexpr size_t kAlignment = 256;

  // How far this step has come.
  struct Position {
    const void* chunk = nullptr;
    size_t offset = 0;
    bool operator==(const Position&) const = default;
  };
  Position position() const;
  // As if all up to a later position in the same chunk had been allocated.
  void AdvanceTo(const Position& position);

  // Never null; valid until Reset(). Ends the process when the device's memory is exhausted.
  void* Allocate(size_t bytes);
  // What is queued afterwards must come after all that uses the memory.
  void Reset();

 private:
  std::vector<DeviceMemory> chunks_;  // only the last one has room
  size_t offset_ = 0;                 // into the last chunk
  size_t used_ = 0;                   // by this step, in all chunks
  size_t high_water_ = 0;
};

}  // namespace tessera
