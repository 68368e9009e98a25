#include "engine/cpu/aligned_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes) {
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

}  // namespace

void AlignedMemory::Free::operator()(void* data) const {
  if (mapped > 0) {
    munmap(data, mapped);
  } else {
    std::free(data);
  }
}

absl::StatusOr<AlignedMemory> AlignedMemory::Allocate(size_t bytes) {
  AlignedMemory memory;
  constexpr size_t kMost = std::numeric_limits<ptrdiff_t>::max() - Arena::kAlignment;
  if (bytes >= kHugePage && bytes <= kMost) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data != MAP_FAILED) {
      // Weights and caches are read whole: fewer faults and misses. A refusal does no harm.
      madvise(data, bytes, MADV_HUGEPAGE);
      memory.data_ = std::unique_ptr<void, Free>(data, Free(bytes));
    }
  } else if (bytes <= kMost) {
    memory.data_.reset(std::aligned_alloc(Arena::kAlignment, RoundUp(std::max(bytes, size_t{1}))));
  }
  if (memory.data_ == nullptr) {
    return absl::ResourceExhaustedError(fmt::format("cannot allocate {} bytes of memory", bytes));
  }
  memory.bytes_ = bytes;
  return memory;
}

absl::StatusOr<AlignedMemory> AlignedMemory::AllocateZeroed(size_t bytes) {
  absl::StatusOr<AlignedMemory> memory = Allocate(bytes);
  const bool fresh = memory.ok() && memory->data_.get_deleter().mapped > 0;
  if (memory.ok() && !fresh) std::memset(memory->data(), 0, bytes);
  return memory;
}

}  // namespace tessera
