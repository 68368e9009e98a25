// SIGTERM and SIGINT as stop tokens: the first signal asks to drain; the second ends the process
// within a tenth of a second whatever it does, with 128 and the signal's number as exit code.
// SIGHUP, by which others reload, is logged and has no effect: there is nothing to reload. SIGPIPE
// is ignored. A thread takes the signals, so nothing runs in a handler. Make it before any other
// thread: they inherit the blocked signals.
#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

namespace tessera {

class Signals {
 public:
  Signals();
  ~Signals();

  std::stop_token first() const { return first_.get_token(); }
  // The process is about to end.
  std::stop_token second() const { return second_.get_token(); }

 private:
  void Wait();
  [[noreturn]] void EndProcess(int signal);

  std::stop_source first_;
  std::stop_source second_;
  std::atomic<bool> done_ = false;
  std::thread thread_;  // last: it uses the others
};

// Returns when a stop is requested.
void WaitForStop(const std::stop_token& token);

}  // namespace tessera
