#include "engine/input_pool.h"

namespace tessera {

InputPool::InputPool(const Preparer& preparer, Inbox& inbox, int32_t threads)
    : preparer_(preparer), inbox_(inbox) {
  for (int32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

void InputPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  threads_.clear();
}

void InputPool::Add(std::shared_ptr<LiveRequest> request) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
  }
  arrived_.notify_one();
}

void InputPool::Run() {
  for (;;) {
    std::shared_ptr<LiveRequest> request;
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      request = std::move(queue_.front());
      queue_.pop_front();
    }
    if (request->abandoned.load(std::memory_order_relaxed)) continue;
    const Clock::time_point began = Clock::now();
    request->preparing_since.store(began.time_since_epoch().count(), std::memory_order_relaxed);
    absl::StatusOr<PreparedPrompt> prompt = preparer_.Prepare(request->request);
    inbox_.Push(PreparedMessage{std::move(request), std::move(prompt), began});
  }
}

}  // namespace tessera
