// Threads that prepare accepted requests, first come first served, and send what they made to the inbox.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/inbox.h"
#include "engine/input/preparer.h"

namespace tessera {

class InputPool {
 public:
  // `preparer` and `inbox` must outlive this.
  InputPool(const Preparer& preparer, Inbox& inbox, int32_t threads);
  ~InputPool() { Stop(); }

  // Waits for the requests being prepared; those still queued, and those added later, are dropped. Once.
  void Stop();
  void Add(std::shared_ptr<LiveRequest> request);

 private:
  void Run();

  const Preparer& preparer_;
  Inbox& inbox_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<LiveRequest>> queue_;
  bool stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace tessera
