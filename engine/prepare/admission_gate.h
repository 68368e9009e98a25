// Bounds how many requests are accepted and do not run yet; their bytes are the MemoryBudget's. Any
// thread.
#pragma once

#include <cstdint>
#include <mutex>

#include "absl/status/status.h"

namespace tessera {

class AdmissionGate {
 public:
  explicit AdmissionGate(int32_t max_waiting) : max_waiting_(max_waiting) {}

  // RESOURCE_EXHAUSTED (QUEUE_FULL) over the bound, UNAVAILABLE (DRAINING) once closed.
  absl::Status Enter();
  void Leave();
  // Nobody enters any more.
  void Close();

  int32_t waiting() const;
  bool closed() const;

 private:
  const int32_t max_waiting_;
  mutable std::mutex mutex_;
  int32_t waiting_ = 0;
  bool closed_ = false;
};

}  // namespace tessera
