#include "cuda/device_arena.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/check.h"

namespace tessera {
namespace {

constexpr size_t kLeastChunk = size_t{16} << 20;

}  // namespace

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

void* DeviceArena::Allocate(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (chunks_.empty() || offset_ + rounded > chunks_.back().bytes()) {
    auto chunk = DeviceMemory::Allocate(std::max(rounded, kLeastChunk));
    TESSERA_CHECK_MSG(chunk.ok(), std::string(chunk.status().message()));
    chunks_.push_back(*std::move(chunk));
    offset_ = 0;
  }
  void* result = static_cast<char*>(chunks_.back().data()) + offset_;
  offset_ += rounded;
  used_ += rounded;
  return result;
}

DeviceArena::Position DeviceArena::position() const {
  return {chunks_.empty() ? nullptr : chunks_.back().data(), offset_};
}

void DeviceArena::AdvanceTo(const Position& position) {
  TESSERA_CHECK(!chunks_.empty() && position.chunk == chunks_.back().data() &&
                position.offset >= offset_ && position.offset <= chunks_.back().bytes());
  used_ += position.offset - offset_;
  offset_ = position.offset;
}

void DeviceArena::Reset() {
  high_water_ = std::max(high_water_, used_);
  if (chunks_.size() > 1) {
    chunks_.clear();
    auto chunk = DeviceMemory::Allocate(high_water_);
    TESSERA_CHECK_MSG(chunk.ok(), std::string(chunk.status().message()));
    chunks_.push_back(*std::move(chunk));
  }
  offset_ = 0;
  used_ = 0;
}

}  // namespace tessera
