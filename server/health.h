// Whether the server is serving, as grpc.health.v1 tells it of "" and of
// tessera.v1.GenerationService: the readiness of the engine, looked at twice a second by one
// thread. Thread-safe. Tests: tests/server/health_test.cc, server_test.cc.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <thread>
#include <vector>

#include "server/engine_slot.h"

namespace tessera {

// One who waits for changes. Told one at a time.
class HealthWatcher {
 public:
  virtual ~HealthWatcher() = default;
  virtual void OnHealth(bool serving) = 0;
};

class Health {
 public:
  // `slot` must outlive this.
  explicit Health(const EngineSlot& slot);

  static bool IsKnown(std::string_view service);
  bool serving() const;
  // Tells what is so now, and later each change.
  void Watch(std::weak_ptr<HealthWatcher> watcher);
  // Looks now: after the model has been loaded, or a drain has begun.
  void Update();

 private:
  void Run(std::stop_token stop);

  const EngineSlot& slot_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  bool serving_ = false;
  std::vector<std::weak_ptr<HealthWatcher>> watchers_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
