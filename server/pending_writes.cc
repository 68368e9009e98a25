#include "server/pending_writes.h"

#include <utility>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kLookEvery(200);

}  // namespace

PendingWrites::PendingWrites(const WriteLimits& limits)
    : limits_(limits), thread_([this](std::stop_token stop) { Watch(stop); }) {}

uint64_t PendingWrites::Begin(std::weak_ptr<Writer> writer, int64_t bytes, MemoryBudget& memory) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = next_id_++;
  Write& write = writes_[id];
  write = {.writer = std::move(writer),
           .began = Clock::now(),
           .memory = &memory,
           .held = memory.Open(MemoryUse::kAnswers)};
  write.held.ForceResize(bytes);
  return id;
}

void PendingWrites::Resize(uint64_t id, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto write = writes_.find(id);
  if (write != writes_.end()) write->second.held.ForceResize(bytes);
}

void PendingWrites::End(uint64_t id) {
  const std::lock_guard lock(mutex_);
  writes_.erase(id);
}

uint64_t PendingWrites::given_up() const {
  const std::lock_guard lock(mutex_);
  return given_up_;
}

bool PendingWrites::IsTooLong(const Write& write, Clock::time_point now) const {
  const Clock::duration time = now - write.began;
  if (time > limits_.longest) return true;
  const double share = static_cast<double>(write.memory->max_bytes()) * limits_.share;
  return time > limits_.least &&
         static_cast<double>(write.memory->bytes(MemoryUse::kAnswers)) > share;
}

PendingWrites::Writers PendingWrites::GiveUpLocked(Clock::time_point now) {
  Writers writers;
  while (!writes_.empty() && IsTooLong(writes_.begin()->second, now)) {
    writers.push_back(std::move(writes_.begin()->second.writer));
    writes_.erase(writes_.begin());
    ++given_up_;
  }
  return writers;
}

void PendingWrites::Watch(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, stop, kLookEvery, [&stop] { return stop.stop_requested(); })) {
    const Writers writers = GiveUpLocked(Clock::now());
    lock.unlock();
    for (const auto& weak : writers) {
      if (const auto writer = weak.lock()) writer->AbandonWrite();
    }
    lock.lock();
  }
}

}  // namespace tessera
