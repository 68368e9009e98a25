#include "client/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace tessera {

LineReader::Result LineReader::Next(std::string* line) {
  while (true) {
    if (TakeLine(line)) return Result::kLine;
    pollfd waits[] = {{interrupts_.fd(), POLLIN, 0}, {fd_, POLLIN, 0}};
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents != 0) {
      interrupts_.Take();
      return Result::kInterrupted;
    }
    char block[4096];
    const ssize_t bytes = read(fd_, block, sizeof(block));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes > 0) {
      buffer_.append(block, static_cast<size_t>(bytes));
      continue;
    }
    if (buffer_.empty()) return Result::kEnd;
    buffer_.push_back('\n');
  }
}

bool LineReader::TakeLine(std::string* line) {
  const size_t end = buffer_.find('\n');
  if (end == std::string::npos) return false;
  *line = buffer_.substr(0, end);
  if (!line->empty() && line->back() == '\r') line->pop_back();
  buffer_.erase(0, end + 1);
  return true;
}

}  // namespace tessera
