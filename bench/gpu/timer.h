// How long queued operations take on the device that runs them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"

namespace tessera::bench {

class Timer {
 public:
  virtual ~Timer() = default;
  virtual std::string name() const = 0;
  // Seconds of each of `samples` runs. `work` queues the same operations on the same shapes
  // whenever it is called; the arena is reset before and after.
  virtual std::vector<double> Time(const std::function<void()>& work, int samples) = 0;
};

// Of a backend that computes before it returns.
std::unique_ptr<Timer> MakeHostTimer(Backend& backend);
// CUDA events on the backend's stream. With `graph` the work is captured once and replayed, so that
// the host's launches do not count.
std::unique_ptr<Timer> MakeDeviceTimer(Backend& backend, bool graph);

}  // namespace tessera::bench
