#include "engine/cpu/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/check.h"

namespace tessera {
namespace {

constexpr size_t kMinChunkBytes = size_t{1} << 20;
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

void* Arena::Allocate(size_t bytes) {
  bytes = RoundUp(std::max(bytes, size_t{1}));
  if (chunks_.empty() || chunks_.back().bytes() - offset_ < bytes) {
    absl::StatusOr<AlignedMemory> chunk =
        AlignedMemory::Allocate(std::max({bytes, kMinChunkBytes, used_}));
    TESSERA_CHECK_MSG(chunk.ok(), chunk.status().ToString());
    chunks_.push_back(*std::move(chunk));
    offset_ = 0;
  }
  void* data = static_cast<char*>(chunks_.back().data()) + offset_;
  offset_ += bytes;
  used_ += bytes;
  high_water_ = std::max(high_water_, used_);
  return data;
}

void Arena::Reset() {
  if (chunks_.size() > 1) {
    chunks_.clear();
    absl::StatusOr<AlignedMemory> chunk = AlignedMemory::Allocate(high_water_);
    if (chunk.ok()) chunks_.push_back(*std::move(chunk));
  }
  offset_ = 0;
  used_ = 0;
}

size_t Arena::capacity_bytes() const {
  size_t bytes = 0;
  for (const AlignedMemory& chunk : chunks_) bytes += chunk.bytes();
  return bytes;
}

}  // namespace tessera
