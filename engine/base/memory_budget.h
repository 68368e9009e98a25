// What the server holds in memory for requests, from the first byte at the port until their input
// is freed, and for answers that are not read: one budget, counted by what holds the bytes. Any
// thread. Tests: tests/engine/base/memory_budget_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera {

// The label `use` of the metrics.
enum class MemoryUse : uint8_t {
  kReceiving,  // messages that are not whole yet
  kRequests,   // messages and the requests made of them: checked, counted, waiting, cancelled but
               // not yet freed
  kImages,     // images being decoded, and their patches until they are encoded
  kAnswers,    // that are on their way, of clients that do not read
  kTransport,  // calls themselves, and bytes outside the messages that calls receive
};
constexpr int kMemoryUses = 5;
std::string_view MemoryUseName(MemoryUse use);

class MemoryBudget;

// Some bytes of the budget, given back when this ends. Its budget must outlive it. One thread at a
// time.
class MemoryCharge {
 public:
  MemoryCharge() = default;  // of no budget, empty for ever
  MemoryCharge(MemoryCharge&& other) noexcept { *this = std::move(other); }
  MemoryCharge& operator=(MemoryCharge&& other) noexcept;
  ~MemoryCharge() { Release(); }

  int64_t bytes() const { return bytes_; }
  // Holds `bytes` in all from now on; smaller always succeeds. Errors as MemoryBudget::Charge(),
  // and nothing changes.
  absl::Status Resize(int64_t bytes);
  // The same for what is there already and can only be counted: the budget may be exceeded.
  void ForceResize(int64_t bytes);
  void Release() { ForceResize(0); }

 private:
  friend class MemoryBudget;
  MemoryCharge(MemoryBudget& budget, MemoryUse use) : budget_(&budget), use_(use) {}

  MemoryBudget* budget_ = nullptr;
  MemoryUse use_ = MemoryUse::kRequests;
  int64_t bytes_ = 0;
};

class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // RESOURCE_EXHAUSTED (QUEUE_FULL) when others hold too much just now, INVALID_ARGUMENT for more
  // than the whole budget.
  absl::StatusOr<MemoryCharge> Charge(MemoryUse use, int64_t bytes);
  // An empty charge, to be grown.
  MemoryCharge Open(MemoryUse use) { return MemoryCharge(*this, use); }

  int64_t max_bytes() const { return max_bytes_; }
  int64_t bytes() const;
  int64_t bytes(MemoryUse use) const;

 private:
  friend class MemoryCharge;
  absl::Status Add(MemoryUse use, int64_t bytes);
  void ForceAdd(MemoryUse use, int64_t bytes);

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  int64_t bytes_ = 0;
  std::array<int64_t, kMemoryUses> by_use_ = {};
};

}  // namespace tessera
