#include "server/task_queue.h"

#include <string>
#include <utility>

#include "engine/base/status.h"

namespace tessera {

absl::Status TaskQueue::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (tasks_.size() >= max_tasks_) {
      return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                          "too many inputs wait to be counted (" + std::to_string(max_tasks_) +
                              "); try again later");
    }
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void TaskQueue::Run(std::stop_token stop) {
  while (true) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !tasks_.empty(); })) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace tessera
