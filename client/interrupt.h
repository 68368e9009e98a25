// Ctrl-C as data: SIGINT is blocked and read from a descriptor, so no code ever runs in a signal
// handler.
#pragma once

#include <stop_token>
#include <thread>

namespace tessera {

// Blocks SIGINT in this thread and in those started from it later, so it must be made before the
// Client, whose threads would otherwise take the signal. At most one at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Readable while an interrupt waits.
  int fd() const { return fd_; }

  // Takes the interrupt that waits.
  void Take() const;

 private:
  int fd_;
};

// While it lives, the first interrupt stops token(); the second ends the process with 130, should
// the first not have been enough.
class StopOnInterrupt {
 public:
  explicit StopOnInterrupt(const Interrupts& interrupts);
  ~StopOnInterrupt();

  std::stop_token token() const { return source_.get_token(); }
  bool interrupted() const { return source_.stop_requested(); }

 private:
  void Watch(const Interrupts& interrupts);

  std::stop_source source_;
  int over_fd_;
  std::jthread thread_;
};

}  // namespace tessera
