// One call of grpc.health.v1.Health/Check over plain HTTP/2 (RFC 9113), as a client of the gRPC
// port makes it, without gRPC: its client would run the server's pending work on the thread that
// asks, and so hide that the server's own threads do not. Tests: tests/server/port_probe_test.cc.
#pragma once

#include <stop_token>

#include "absl/status/status.h"
#include "engine/api/request.h"
#include "server/file_descriptor.h"

namespace tessera {

// On a socket that is connected or about to be, and does not block. OK once the call has been
// answered, whatever the answer is.
absl::Status QueryHealth(const FileDescriptor& socket, Clock::time_point deadline,
                         const std::stop_token& stop);

}  // namespace tessera
