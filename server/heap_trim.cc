#include "server/heap_trim.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kInterval(500);
constexpr int64_t kLeastFreed = int64_t{64} << 20;

}  // namespace

bool TrimRule::IsWorthIt(int64_t peak, int64_t bytes) {
  if (std::exchange(again_, false)) return true;
  peak_ = std::max(peak_, peak);
  if (peak_ - bytes < kLeastFreed || bytes > peak_ / 4) return false;
  peak_ = bytes;
  again_ = true;
  return true;
}

HeapTrim::HeapTrim(const EngineSlot& slot)
    : slot_(slot), thread_([this](std::stop_token stop) { Watch(std::move(stop)); }) {}

void HeapTrim::Watch(std::stop_token stop) {
  TrimRule rule;
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    stopped_.wait_for(lock, stop, kInterval, [] { return false; });
    Engine* const engine = slot_.engine();
    if (engine == nullptr || stop.stop_requested()) continue;
    MemoryBudget& memory = engine->memory();
    const int64_t peak = memory.TakePeak();
    if (rule.IsWorthIt(peak, memory.bytes())) malloc_trim(0);
  }
}

}  // namespace tessera
