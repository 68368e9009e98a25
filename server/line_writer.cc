#include "server/line_writer.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

namespace tessera {
namespace {

constexpr std::chrono::seconds kEndTime(1);
constexpr std::chrono::milliseconds kPoll(1);

// False when the descriptor takes no more, e.g. because its reader is gone.
bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = write(fd, text.data(), text.size());
    if (bytes >= 0) {
      text.remove_prefix(static_cast<size_t>(bytes));
    } else if (errno == EAGAIN) {  // somebody else's choice: the descriptor is shared
      std::this_thread::sleep_for(kPoll);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// Signals are for other threads: a SIGPIPE must not end the process, a SIGTERM has its own.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct LineWriter::Queue {
  // A line to write, behind the note of those dropped before it. No text: the end.
  struct Item {
    std::string text;
    uint64_t number = 0;   // of the line, from 1
    uint64_t dropped = 0;  // that the note tells of
  };

  Queue(int fd, Limits limits, DropNote note) : fd(fd), limits(limits), note(std::move(note)) {}

  Item Take();
  // Those that found no reader are told of later.
  void Lose(uint64_t count);

  const int fd;
  const Limits limits;
  const DropNote note;
  std::atomic<uint64_t> added = 0;  // lines ever, which is the last one's number
  std::atomic<uint64_t> done = 0;   // the number of the last one that was written or lost
  std::atomic<uint64_t> dropped = 0;
  std::mutex mutex;
  std::condition_variable wake;
  // Guarded by mutex:
  std::deque<std::string> lines;
  size_t bytes = 0;
  uint64_t untold = 0;  // dropped since the last note
  bool ending = false;
};

LineWriter::Queue::Item LineWriter::Queue::Take() {
  std::unique_lock lock(mutex);
  wake.wait(lock, [&] { return ending || !lines.empty(); });
  if (lines.empty()) return {};
  Item item{.text = "", .number = added - lines.size() + 1, .dropped = std::exchange(untold, 0)};
  if (item.dropped > 0) item.text = note(item.dropped);
  item.text += lines.front();
  bytes -= lines.front().size();
  lines.pop_front();
  return item;
}

void LineWriter::Queue::Lose(uint64_t count) {
  const std::lock_guard lock(mutex);
  untold += count;
}

LineWriter::LineWriter(int fd, Limits limits, DropNote note)
    : queue_(std::make_shared<Queue>(fd, limits, std::move(note))) {
  const BlockedSignals blocked;  // the thread inherits them
  std::thread([queue = queue_] { Run(*queue); }).detach();
}

LineWriter::~LineWriter() {
  Flush(kEndTime);
  const std::lock_guard lock(queue_->mutex);
  queue_->ending = true;
  queue_->lines.clear();
  queue_->wake.notify_one();
}

void LineWriter::Add(std::string line) {
  Queue& queue = *queue_;
  const std::lock_guard lock(queue.mutex);
  ++queue.added;
  queue.bytes += line.size();
  queue.lines.push_back(std::move(line));
  // The newest stays, whatever its size: the last line before an end tells why it came.
  while (queue.lines.size() > 1 &&
         (queue.lines.size() > queue.limits.lines || queue.bytes > queue.limits.bytes)) {
    queue.bytes -= queue.lines.front().size();
    queue.lines.pop_front();
    ++queue.untold;
    ++queue.dropped;
  }
  queue.wake.notify_one();
}

bool LineWriter::Flush(std::chrono::nanoseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (const uint64_t last = queue_->added; queue_->done < last;) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

uint64_t LineWriter::dropped() const { return queue_->dropped; }

void LineWriter::Run(Queue& queue) {
  while (true) {
    const Queue::Item item = queue.Take();
    if (item.text.empty()) return;
    if (!WriteAll(queue.fd, item.text)) {
      ++queue.dropped;
      queue.Lose(item.dropped + 1);
    }
    queue.done = item.number;
  }
}

}  // namespace tessera
