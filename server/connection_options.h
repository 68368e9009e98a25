// What an operator, or a test, sets about the connections of the gRPC port.
#pragma once

#include <chrono>
#include <cstdint>

namespace tessera {

// Of the server's own questions to its port.
struct ProbeTimes {
  std::chrono::milliseconds interval = std::chrono::seconds(2);
  std::chrono::milliseconds answer = std::chrono::seconds(5);     // then a question has failed
  std::chrono::milliseconds patience = std::chrono::seconds(10);  // without an answer
};

struct ConnectionOptions {
  int64_t max_connections = 0;              // 0: what file descriptors allow, at most 4096
  int64_t max_connections_per_address = 0;  // 0: a quarter of all, or 64 if that is more
  // Until HTTP/2's greeting (RFC 9113, 3.4) has arrived.
  std::chrono::milliseconds handshake_time = std::chrono::seconds(20);
  // Of a connection without calls.
  std::chrono::milliseconds idle_time = std::chrono::minutes(10);
  // That may arrive on a connection while none of its calls receives a message, beside a window of
  // 64 KiB for each call that is there or was a moment ago: headers and HTTP/2's own frames.
  int64_t header_bytes = int64_t{2} << 20;
  // For a client to take what is sent to it.
  std::chrono::milliseconds write_time = std::chrono::seconds(60);
  ProbeTimes probe = {};
};

}  // namespace tessera
