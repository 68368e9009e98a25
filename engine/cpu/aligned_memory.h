// Memory of the host, and that of one step.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/step_arena.h"

namespace tessera {

// 64-byte aligned memory, freed with the object.
class AlignedMemory {
 public:
  AlignedMemory() = default;
  // RESOURCE_EXHAUSTED when there is not enough. Not zeroed.
  static absl::StatusOr<AlignedMemory> Allocate(size_t bytes);
  // Zeroed; large memory takes real pages only where it is written.
  static absl::StatusOr<AlignedMemory> AllocateZeroed(size_t bytes);

  void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    Free() : mapped(0) {}
    explicit Free(size_t mapped) : mapped(mapped) {}
    size_t mapped;  // bytes that came from the kernel, 0: from the heap
    void operator()(void* data) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

using Arena = StepArena<AlignedMemory, 64, size_t{1} << 20>;

}  // namespace tessera
