#include "engine/admission_gate.h"

#include <fmt/format.h>

#include "engine/check.h"
#include "engine/status.h"

namespace tessera {

absl::Status AdmissionGate::Enter(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kDraining, "",
                        "the server is shutting down; try another replica");
  }
  if (bytes > max_bytes_) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter, "input",
                        fmt::format("the request holds {} bytes, at most {} are taken", bytes,
                                    max_bytes_));
  }
  if (waiting_ >= max_waiting_) {
    return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                        fmt::format("{} requests wait already; try again later", waiting_));
  }
  if (bytes > max_bytes_ - bytes_) {
    return RequestError(
        absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
        fmt::format("requests that wait hold {} bytes, {} more are over the limit of {}; try again later",
                    bytes_, bytes, max_bytes_));
  }
  ++waiting_;
  bytes_ += bytes;
  return absl::OkStatus();
}

void AdmissionGate::Leave(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  TESSERA_CHECK(waiting_ > 0 && bytes_ >= bytes);
  --waiting_;
  bytes_ -= bytes;
}

void AdmissionGate::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

int32_t AdmissionGate::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

int64_t AdmissionGate::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

bool AdmissionGate::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace tessera
