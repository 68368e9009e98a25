#include "engine/request/inbox.h"

#include <utility>

namespace tessera {

bool Inbox::Push(InboxMessage message) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    messages_.push_back(std::move(message));
  }
  arrived_.notify_one();
  return true;
}

std::vector<InboxMessage> Inbox::Take(Clock::time_point until) {
  std::unique_lock lock(mutex_);
  arrived_.wait_until(lock, until, [this] { return !messages_.empty() || stopped_; });
  return std::exchange(messages_, {});
}

void Inbox::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  arrived_.notify_one();
}

std::vector<InboxMessage> Inbox::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  return std::exchange(messages_, {});
}

bool Inbox::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

}  // namespace tessera
