// Gives memory back to the system after requests have held much of it: the allocator would keep it,
// and resident memory would tell nothing of what is held. One thread looks each second once there
// is an engine. Tests: tests/server/heap_trim_test.cc.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "server/engine_slot.h"

namespace tessera {

// When it is worth the time, some milliseconds: resident memory has grown by 16 MiB over the least
// that a trim left, and requests do not hold that. Where a trim gives nothing back, the growth is
// taken for needed little by little, since gRPC frees its part some seconds later.
class TrimRule {
 public:
  // In bytes: what the process has resident and what the budget holds.
  bool IsWorthIt(int64_t resident, int64_t held);
  // To be called after each trim.
  void Trimmed(int64_t resident);

 private:
  std::optional<int64_t> needed_;  // none before the first question
};

class HeapTrim {
 public:
  static constexpr std::chrono::milliseconds kInterval{1000};

  // `slot` must outlive this.
  explicit HeapTrim(const EngineSlot& slot);

 private:
  void Watch(std::stop_token stop);
  void Look();

  const EngineSlot& slot_;
  TrimRule rule_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
