// The sockets that listen for one address: as many as its name has addresses, all on one port.
// Either wildcard, 0.0.0.0 or [::], means every address of both families, as to gRPC's own ports.
// Tests: tests/server/connections_test.cc.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/file_descriptor.h"
#include "server/listen_address.h"

namespace tessera {

struct ListeningSockets {
  std::vector<FileDescriptor> sockets;  // not empty; they do not block
  int port = 0;
};

// UNAVAILABLE, naming the address and the reason, when none of its addresses can be had. A second
// server on the same port is an error.
absl::StatusOr<ListeningSockets> Listen(const ListenAddress& address);

}  // namespace tessera
