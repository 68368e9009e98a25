// Collects the engine's statistics: written by the engine thread, read by any.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>

#include "engine/api/stats.h"
#include "engine/request/live_request.h"
#include "engine/step/routing_counts.h"

namespace tessera {

class Telemetry {
 public:
  // `experts`: of each layer of the model, 0 for dense ones.
  Telemetry(RoutingTelemetry routing, const std::vector<int>& experts);

  // Runs `update` on the statistics under the lock; short, and once or twice per step.
  template <typename Update>
  void Write(Update update) {
    const std::lock_guard lock(mutex_);
    update(stats_);
  }
  // Whether CountRouting() wants a step's choices.
  bool counts_routing() const { return routing_.enabled(); }
  // A step's choices: int32 [T, k] of each routed layer; `image_row` [T].
  void CountRouting(const std::vector<std::vector<int32_t>>& choices,
                    const std::vector<bool>& image_row);
  // The engine thread is alive.
  void Beat() { beat_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed); }

  // Since when the oldest request waits for a place, and the oldest running one has it.
  void SetOldest(std::optional<Clock::time_point> waiting,
                 std::optional<Clock::time_point> running);

  // A copy; waiting, bytes and draining are the gate's to fill in, what stands before them the
  // input pool's.
  EngineStats Read() const;

 private:
  mutable std::mutex mutex_;
  EngineStats stats_;
  std::optional<Clock::time_point> oldest_waiting_;
  std::optional<Clock::time_point> oldest_running_;
  std::atomic<Clock::rep> beat_;
  RoutingCounts routing_;  // the engine thread's
};

// Adds a finished request to counters and histograms.
void RecordFinish(const LiveRequest& request, const Completion& completion, Outcome outcome,
                  Clock::time_point now, EngineStats& stats);

}  // namespace tessera
