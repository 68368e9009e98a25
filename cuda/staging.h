// Host memory that the device copies from by itself, as a ring: uploads go on while the host
// prepares the next ones, and when the ring is full the stream is waited for.
#pragma once

#include <cstddef>

#include "gpu/runtime.h"

namespace tessera {

class Staging {
 public:
  static constexpr size_t kBytes = size_t{32} << 20;

  explicit Staging(gpu::StreamHandle stream) : stream_(stream) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // While it is closed, uploads are bugs.
  void Close() { open_ = false; }
  void Open() { open_ = true; }
  // Copies host memory, which may be freed after the call.
  void Upload(const void* source, size_t bytes, void* device);

 private:
  // `bytes` ≤ kBytes of the ring, from `offset_` on; it must have room.
  char* Take(size_t bytes);
  bool HasRoom(size_t bytes) const { return offset_ + bytes <= kBytes; }

  const gpu::StreamHandle stream_;
  char* memory_ = nullptr;  // made when first needed
  size_t offset_ = 0;
  bool open_ = true;
};

}  // namespace tessera
