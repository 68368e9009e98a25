// Memory of one step: a bump allocator over a few chunks. Reset() keeps the memory, merged into one
// chunk of the most that any step has used, so that a steady state allocates nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

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

class Arena {
 public:
  static constexpr size_t kAlignment = 64;

  // Never null, 64-byte aligned, not zeroed; valid until Reset(). Ends the process when memory is
  // exhausted.
  void* Allocate(size_t bytes);
  template <typename T>
  T* New(size_t count) {
    return static_cast<T*>(Allocate(count * sizeof(T)));
  }
  void Reset();

  size_t used_bytes() const { return used_; }
  size_t capacity_bytes() const;
  size_t chunks() const { return chunks_.size(); }

 private:
  std::vector<AlignedMemory> chunks_;  // only the last one has room
  size_t offset_ = 0;                  // into the last chunk
  size_t used_ = 0;                    // by this step, in all chunks
  size_t high_water_ = 0;
};

}  // namespace tessera
