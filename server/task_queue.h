// One thread that does short blocking work for gRPC's threads, which must not block. Bounded.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "absl/status/status.h"

namespace tessera {

class TaskQueue {
 public:
  explicit TaskQueue(size_t max_tasks)
      : max_tasks_(max_tasks), thread_([this](auto s) { Run(s); }) {}
  // Runs what was accepted, then ends.
  ~TaskQueue() = default;

  // RESOURCE_EXHAUSTED / QUEUE_FULL when too many wait.
  absl::Status Post(std::function<void()> task);

 private:
  void Run(std::stop_token stop);

  const size_t max_tasks_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  std::jthread thread_;                      // last: it uses the others
};

}  // namespace tessera
