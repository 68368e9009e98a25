// Sockets of refused connections, until their peers have closed too: closing at once a socket on
// which something has arrived would be a reset, which some clients tell as another fault. Used by
// one thread.
#pragma once

#include <deque>

#include "engine/api/request.h"
#include "server/file_descriptor.h"

namespace tessera {

class RefusedSockets {
 public:
  // Tells the peer that nothing will come.
  void Add(FileDescriptor socket, Clock::time_point now);
  // Closes those that are done. To be called every few milliseconds unless empty().
  void Sweep(Clock::time_point now);
  bool empty() const { return refused_.empty(); }

 private:
  struct Refused {
    FileDescriptor socket;
    Clock::time_point until;
  };

  std::deque<Refused> refused_;  // the oldest first
};

// As far as it can be done without waiting.
void CloseCleanly(FileDescriptor socket);

}  // namespace tessera
