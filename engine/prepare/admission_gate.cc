#include "engine/prepare/admission_gate.h"

#include <fmt/format.h>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {

absl::Status AdmissionGate::Enter() {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kDraining, "",
                        "the server is shutting down; try another replica");
  }
  if (waiting_ >= max_waiting_) {
    return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                        fmt::format("{} requests wait already; try again later", waiting_));
  }
  ++waiting_;
  return absl::OkStatus();
}

void AdmissionGate::Leave() {
  const std::lock_guard lock(mutex_);
  TESSERA_CHECK(waiting_ > 0);
  --waiting_;
}

void AdmissionGate::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

int32_t AdmissionGate::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

bool AdmissionGate::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace tessera
