// Bounds what is accepted and does not run yet: requests and their bytes. Any thread.
#pragma once

#include <cstdint>
#include <mutex>

#include "absl/status/status.h"

namespace tessera {

class AdmissionGate {
 public:
  AdmissionGate(int32_t max_waiting, int64_t max_bytes)
      : max_waiting_(max_waiting), max_bytes_(max_bytes) {}

  // RESOURCE_EXHAUSTED (QUEUE_FULL) over either bound, INVALID_ARGUMENT for more bytes than could ever enter, UNAVAILABLE (DRAINING)
  // once closed.
  absl::Status Enter(int64_t bytes);
  void Leave(int64_t bytes);
  // Nobody enters any more.
  void Close();

  int32_t waiting() const;
  int64_t bytes() const;
  bool closed() const;

 private:
  const int32_t max_waiting_;
  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  int32_t waiting_ = 0;
  int64_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace tessera
