// Lines on their way to a file descriptor whose reader may be slow or may never read: a bounded
// queue and one thread that writes. Only that thread waits for the reader; when the queue is full
// the oldest lines are dropped and counted, and a line in their place says how many. Tests:
// tests/server/line_writer_test.cc.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace tessera {

class LineWriter {
 public:
  struct Limits {
    size_t lines = 8192;
    size_t bytes = size_t{2} << 20;
  };
  // The line, with its end, that tells of `count` dropped ones.
  using DropNote = std::function<std::string(uint64_t count)>;

  // `fd` stays open until the process ends.
  LineWriter(int fd, Limits limits, DropNote note);
  // Gives what is queued a second to be written. A write that still waits for its reader is left
  // behind with its thread.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` with its end. Any thread; never waits for the reader.
  void Add(std::string line);
  // Until all lines added before are written or dropped, at most for `timeout`. Takes no lock and
  // no memory, so that a signal's handler may call it. False when time ran out.
  bool Flush(std::chrono::nanoseconds timeout) const;
  uint64_t dropped() const;

 private:
  struct Queue;
  static void Run(Queue& queue);

  std::shared_ptr<Queue> queue_;  // the thread's, too, which may outlive this
};

}  // namespace tessera
