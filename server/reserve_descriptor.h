// A descriptor held in reserve by who accepts connections: where the process has no other, it is
// given up for as long as it takes to accept and close what waits, which poll would else tell of
// again and again. Tests: tests/server/acceptor_test.cc, http_server_test.cc.
#pragma once

#include "server/file_descriptor.h"

namespace tessera {

class ReserveDescriptor {
 public:
  enum class Result {
    kRefused,
    kNobodyWaits,  // accept(2) does not tell it from having no descriptor
    kLost,         // another thread was faster: try again a little later
  };

  // False where there is none to hold; errno tells why.
  bool Open();
  // Closes the connection that waits longest at `listener`.
  Result RefuseOne(int listener);

 private:
  FileDescriptor held_;
};

}  // namespace tessera
