// Host memory that the device copies to by itself, a piece for each download under way. Pieces are
// used again, so that a steady state allocates nothing.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/backend/backend.h"
#include "gpu/runtime.h"

namespace tessera {

class PinnedReadbacks {
 public:
  explicit PinnedReadbacks(gpu::StreamHandle stream) : stream_(stream) {}

  // Ends no later than this object.
  std::unique_ptr<PendingCopy> Start(std::span<const Download> downloads);

 private:
  static constexpr size_t kMinBytes = size_t{1} << 16;
  static constexpr size_t kMaxKept = size_t{32} << 20;  // larger pieces are given back

  struct Free {
    void operator()(char* memory) const { gpu::FreeHost(memory); }
  };
  struct FreeEvent {
    void operator()(gpu::EventHandle event) const { gpu::FreeEvent(event); }
  };
  struct Piece {
    std::unique_ptr<char, Free> memory;
    size_t bytes = 0;
    std::unique_ptr<CUevent_st, FreeEvent> landed;
  };
  class Readback;

  Piece Take(size_t bytes);

  const gpu::StreamHandle stream_;
  std::vector<Piece> free_;
};

}  // namespace tessera
