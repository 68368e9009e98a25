// Ends the process, with exit code 1 and a line of log, unless this ends within its time: for the
// end of a drain, which nothing that cannot be interrupted may hold up.
#pragma once

#include <chrono>
#include <thread>

namespace tessera {

class EndTimer {
 public:
  explicit EndTimer(std::chrono::nanoseconds time);

 private:
  std::jthread thread_;
};

}  // namespace tessera
