// Memory of one step: a bump allocator over a few chunks. Reset() keeps the memory, merged into one
// chunk of the most that any step has used, so that a steady state allocates nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/check.h"

namespace tessera {

// Memory: of the device, aligned to kAlign, freed with the object, with data(), bytes() and
// Allocate(bytes), a StatusOr of it.
template <typename Memory, size_t kAlign, size_t kMinChunk>
class StepArena {
 public:
  static constexpr size_t kAlignment = kAlign;

  // How far this step has come.
  struct Position {
    const void* chunk = nullptr;
    size_t offset = 0;
    bool operator==(const Position&) const = default;
  };
  Position position() const { return {chunks_.empty() ? nullptr : chunks_.back().data(), offset_}; }
  // As if all up to a later position in the same chunk had been allocated.
  void AdvanceTo(const Position& position) {
    TESSERA_CHECK(!chunks_.empty() && position.chunk == chunks_.back().data() &&
                  position.offset >= offset_ && position.offset <= chunks_.back().bytes());
    used_ += position.offset - offset_;
    offset_ = position.offset;
  }

  // Never null, aligned, not zeroed; valid until Reset(). Ends the process when memory is
  // exhausted.
  void* Allocate(size_t bytes) {
    TESSERA_CHECK(bytes <= PTRDIFF_MAX);
    const size_t rounded = (std::max<size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
    if (chunks_.empty() || chunks_.back().bytes() - offset_ < rounded) {
      AddChunk(std::max(rounded, kMinChunk));
      offset_ = 0;
    }
    void* data = static_cast<char*>(chunks_.back().data()) + offset_;
    offset_ += rounded;
    used_ += rounded;
    return data;
  }
  template <typename T>
  T* New(size_t count) {
    return static_cast<T*>(Allocate(count * sizeof(T)));
  }

  // What is queued afterwards must come after all that uses the memory.
  void Reset() {
    high_water_ = std::max(high_water_, used_);
    if (chunks_.size() > 1) {
      chunks_.clear();
      AddChunk(high_water_);
    }
    offset_ = 0;
    used_ = 0;
  }

  size_t used_bytes() const { return used_; }
  size_t capacity_bytes() const {
    size_t bytes = 0;
    for (const Memory& chunk : chunks_) bytes += chunk.bytes();
    return bytes;
  }
  size_t chunks() const { return chunks_.size(); }

 private:
  void AddChunk(size_t bytes) {
    auto chunk = Memory::Allocate(bytes);
    TESSERA_CHECK_MSG(chunk.ok(), std::string(chunk.status().message()));
    chunks_.push_back(*std::move(chunk));
  }

  std::vector<Memory> chunks_;  // only the last one has room
  size_t offset_ = 0;           // into the last chunk
  size_t used_ = 0;             // by this step, in all chunks
  size_t high_water_ = 0;
};

}  // namespace tessera
