#include "cuda/pinned_readbacks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/backend/half.h"
#include "engine/base/check.h"

namespace tessera {
namespace {

// The 16-bit numbers at the beginning of `values`, from the last one on.
void WidenInPlace(DType dtype, int64_t count, float* values) {
  for (int64_t i = count - 1; i >= 0; --i) {
    uint16_t half;
    std::memcpy(&half, reinterpret_cast<const char*>(values) + i * sizeof(half), sizeof(half));
    values[i] = dtype == DType::kBFloat16 ? BFloat16ToFloat(half) : Float16ToFloat(half);
  }
}

}  // namespace

class PinnedReadbacks::Readback final : public PendingCopy {
 public:
  Readback(PinnedReadbacks& pinned_readbacks, Piece piece, std::span<const Download> downloads)
      : pinned_readbacks_(pinned_readbacks),
        piece_(std::move(piece)),
        downloads_(downloads.begin(), downloads.end()) {}
  ~Readback() override {
    gpu::WaitFor(piece_.landed.get());
    if (piece_.bytes <= kMaxKept) pinned_readbacks_.free_.push_back(std::move(piece_));
  }

  void Wait() override {
    gpu::WaitFor(piece_.landed.get());
    const char* from = piece_.memory.get();
    for (const auto& [source, target] : downloads_) {
      std::memcpy(target, from, source.bytes());
      from += source.bytes();
      if (source.dtype != DType::kInt32 && source.dtype != DType::kFloat32) {
        WidenInPlace(source.dtype, source.elements(), static_cast<float*>(target));
      }
    }
    downloads_.clear();
  }

 private:
  PinnedReadbacks& pinned_readbacks_;
  Piece piece_;
  std::vector<Download> downloads_;  // in the order in which they lie in the piece
};

PinnedReadbacks::Piece PinnedReadbacks::Take(size_t bytes) {
  const auto large_enough = [&](const Piece& piece) { return piece.bytes >= bytes; };
  const auto found = std::find_if(free_.begin(), free_.end(), large_enough);
  if (found != free_.end()) {
    Piece piece = std::move(*found);
    free_.erase(found);
    return piece;
  }
  Piece piece;
  piece.bytes = std::bit_ceil(std::max(bytes, kMinBytes));
  piece.memory.reset(static_cast<char*>(gpu::AllocateHost(piece.bytes)));
  TESSERA_CHECK_MSG(piece.memory != nullptr, "no page-locked memory for downloads");
  piece.landed.reset(gpu::MakeEvent());
  return piece;
}

std::unique_ptr<PendingCopy> PinnedReadbacks::Start(std::span<const Download> downloads) {
  size_t bytes = 0;
  for (const Download& download : downloads) bytes += download.source.bytes();
  Piece piece = Take(bytes);
  char* to = piece.memory.get();
  for (const Download& download : downloads) {
    gpu::CopyToHost(to, download.source.data, download.source.bytes(), stream_);
    to += download.source.bytes();
  }
  gpu::Record(piece.landed.get(), stream_);
  return std::make_unique<Readback>(*this, std::move(piece), downloads);
}

}  // namespace tessera
