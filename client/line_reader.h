// Lines from a descriptor, with Ctrl-C while waiting for one.
#pragma once

#include <string>

#include "client/interrupt.h"

namespace tessera {

class LineReader {
 public:
  enum class Result { kLine, kEnd, kInterrupted };

  // `fd` stays open.
  LineReader(int fd, const Interrupts& interrupts) : fd_(fd), interrupts_(interrupts) {}

  // Waits for the next line and puts it, without its end, into `line`. A last line without an end
  // is a line too.
  Result Next(std::string* line);

 private:
  // Takes a line out of what has been read.
  bool TakeLine(std::string* line);

  int fd_;
  const Interrupts& interrupts_;
  std::string buffer_;
};

}  // namespace tessera
