#include "engine/base/memory_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {

std::string_view MemoryUseName(MemoryUse use) {
  constexpr std::array<std::string_view, kMemoryUses> kNames = {"receiving", "requests", "pictures",
                                                                "answers", "transport"};
  return kNames.at(static_cast<size_t>(use));
}

MemoryCharge& MemoryCharge::operator=(MemoryCharge&& other) noexcept {
  if (this == &other) return *this;
  Release();
  budget_ = other.budget_;
  use_ = other.use_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

absl::Status MemoryCharge::Resize(int64_t bytes) {
  TESSERA_CHECK(bytes >= 0 && (budget_ != nullptr || bytes == 0));
  if (bytes > bytes_) {
    RETURN_IF_ERROR(budget_->Add(use_, bytes - bytes_));
  } else if (bytes < bytes_) {
    budget_->ForceAdd(use_, bytes - bytes_);
  }
  bytes_ = bytes;
  return absl::OkStatus();
}

void MemoryCharge::ForceResize(int64_t bytes) {
  TESSERA_CHECK(bytes >= 0 && (budget_ != nullptr || bytes == 0));
  if (bytes != bytes_) budget_->ForceAdd(use_, bytes - bytes_);
  bytes_ = bytes;
}

absl::StatusOr<MemoryCharge> MemoryBudget::Charge(MemoryUse use, int64_t bytes) {
  MemoryCharge charge = Open(use);
  RETURN_IF_ERROR(charge.Resize(bytes));
  return charge;
}

absl::Status MemoryBudget::Add(MemoryUse use, int64_t bytes) {
  if (bytes > max_bytes_) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter, "input",
                        fmt::format("the request needs {} bytes of memory, at most {} are taken",
                                    bytes, max_bytes_));
  }
  const std::lock_guard lock(mutex_);
  if (bytes > max_bytes_ - bytes_) {
    return RequestError(
        absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
        fmt::format("requests hold {} bytes, {} more are over the limit of {}; try again later",
                    bytes_, bytes, max_bytes_));
  }
  bytes_ += bytes;
  by_use_[static_cast<size_t>(use)] += bytes;
  return absl::OkStatus();
}

void MemoryBudget::ForceAdd(MemoryUse use, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ += bytes;
  by_use_[static_cast<size_t>(use)] += bytes;
  TESSERA_CHECK(by_use_[static_cast<size_t>(use)] >= 0);
}

int64_t MemoryBudget::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

int64_t MemoryBudget::bytes(MemoryUse use) const {
  const std::lock_guard lock(mutex_);
  return by_use_[static_cast<size_t>(use)];
}

}  // namespace tessera
