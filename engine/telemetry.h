// Collects the engine's statistics: written by the engine thread, read by any.
#pragma once

#include <atomic>
#include <mutex>

#include "engine/live_request.h"
#include "engine/stats.h"

namespace tessera {

class Telemetry {
 public:
  // `routed_layers`: indices of the layers with experts.
  Telemetry(const std::vector<int32_t>& routed_layers, int32_t experts);

  // Runs `update` on the statistics under the lock; short, and once or twice per step.
  template <typename Update>
  void Write(Update update) {
    const std::lock_guard lock(mutex_);
    update(stats_);
  }
  // The engine thread is alive.
  void Beat() { beat_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed); }

  // A copy; waiting, bytes and draining are the gate's to fill in.
  EngineStats Read() const;

 private:
  mutable std::mutex mutex_;
  EngineStats stats_;
  std::atomic<Clock::rep> beat_;
};

// Adds a finished request to counters and histograms.
void RecordFinish(const LiveRequest& request, const Completion& completion, Outcome outcome,
                  Clock::time_point now, EngineStats& stats);

// Adds choices int32 [T, k] of routed layer `layer` by modality of their rows.
void CountExperts(const std::vector<int32_t>& choices, const std::vector<bool>& image_row,
                  int32_t layer, EngineStats& stats);

}  // namespace tessera
