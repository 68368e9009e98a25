#include "server/heap_trim.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/system_memory.h"

namespace tessera {
namespace {

constexpr int64_t kMinGrowth = int64_t{16} << 20;
constexpr int64_t kTrimsUntilNeeded = 32;  // about; they move it by their part of the growth

}  // namespace

bool TrimRule::IsWorthIt(int64_t resident, int64_t held) {
  if (!needed_) needed_ = resident;
  needed_ = std::min(*needed_, resident);
  return resident - *needed_ - held >= kMinGrowth;
}

void TrimRule::Trimmed(int64_t resident) {
  TESSERA_CHECK(needed_);
  const int64_t growth = resident - *needed_;
  *needed_ += growth > 0 ? growth / kTrimsUntilNeeded : growth;
}

HeapTrim::HeapTrim(const EngineSlot& slot)
    : slot_(slot), thread_([this](std::stop_token stop) { Watch(std::move(stop)); }) {}

void HeapTrim::Watch(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    stopped_.wait_for(lock, stop, kInterval, [] { return false; });
    Look();
  }
}

void HeapTrim::Look() {
  Engine* const engine = slot_.engine();
  if (engine == nullptr) return;
  if (!rule_.IsWorthIt(ResidentHeapBytes(), engine->memory().bytes())) return;
  malloc_trim(0);
  rule_.Trimmed(ResidentHeapBytes());
}

}  // namespace tessera
