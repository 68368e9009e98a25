// Gives memory back to the system after requests have held much of it: the allocator would keep it,
// and resident memory would tell nothing of what is held. One thread looks twice a second. Tests:
// tests/server/heap_trim_test.cc.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "server/engine_slot.h"

namespace tessera {

// When it is worth the time, some milliseconds: of the most that was held since the last time at
// least 64 MiB and three quarters are free again.
class TrimRule {
 public:
  // `peak`: the most bytes since the last question, `bytes`: those held now. Says yes twice, since
  // gRPC frees its part a moment later.
  bool IsWorthIt(int64_t peak, int64_t bytes);

 private:
  int64_t peak_ = 0;
  bool again_ = false;
};

class HeapTrim {
 public:
  // `slot` must outlive this.
  explicit HeapTrim(const EngineSlot& slot);

 private:
  void Watch(std::stop_token stop);

  const EngineSlot& slot_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
