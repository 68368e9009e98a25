// Answers that gRPC has taken and whose bytes have not left: those of clients that do not read.
// Each is charged as MemoryUse::kAnswers from its write to its end. One that its client does not
// take within a time is given up, and so are the oldest where all together hold too much.
// Thread-safe. Tests: tests/server/pending_writes_test.cc.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/api/request.h"
#include "engine/base/memory_budget.h"

namespace tessera {

// A call that writes its answer.
class Writer {
 public:
  virtual ~Writer() = default;
  // The write does not end, and is not waited for any longer. Once at most for each write.
  virtual void AbandonWrite() = 0;
};

struct WriteLimits {
  std::chrono::milliseconds longest = std::chrono::seconds(60);
  double share = 0.25;  // of the memory budget, for all writes
  // Before it, no write is given up for what all hold: its client may be about to read.
  std::chrono::milliseconds least = std::chrono::seconds(1);
};

class PendingWrites {
 public:
  explicit PendingWrites(const WriteLimits& limits = {});

  // A write of `bytes` bytes of `writer` begins. Never 0. `memory` must outlive it.
  uint64_t Begin(std::weak_ptr<Writer> writer, int64_t bytes, MemoryBudget& memory);
  // It and what waits behind it are so many bytes now. 0 and ids that have ended are let pass.
  void Resize(uint64_t id, int64_t bytes);
  void End(uint64_t id);

  uint64_t given_up() const;

 private:
  struct Write {
    std::weak_ptr<Writer> writer;
    Clock::time_point began;
    MemoryBudget* memory = nullptr;
    MemoryCharge held;
  };
  using Writers = std::vector<std::weak_ptr<Writer>>;

  void Watch(std::stop_token stop);
  Writers GiveUpLocked(Clock::time_point now);
  bool IsTooLong(const Write& write, Clock::time_point now) const;

  const WriteLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable_any stopped_;
  // Guarded by mutex_:
  uint64_t next_id_ = 1;
  uint64_t given_up_ = 0;
  std::map<uint64_t, Write> writes_;  // the oldest first
  std::jthread thread_;               // last: it uses the others
};

}  // namespace tessera
