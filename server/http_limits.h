// What one client, and all of them, may take of the HTTP port. docs/limits.md tells what
// a client sees when one is reached.
#pragma once

#include <chrono>
#include <cstddef>

namespace tessera {

struct HttpLimits {
  // Where there are as many, the one that has been longest in its present stage goes in favour of a
  // new one: who speaks at once is served whatever others do.
  size_t connections = 256;
  size_t connections_per_address = 64;  // of IPv6 per /64
  size_t request_line_bytes = 4096;
  size_t head_bytes = 16 << 10;  // the request line and the headers
  size_t headers = 64;
  std::chrono::milliseconds first_byte{5'000};
  std::chrono::milliseconds between_bytes{2'000};
  std::chrono::milliseconds whole_head{5'000};  // from its first byte
  std::chrono::milliseconds write{10'000};      // of a whole answer
  std::chrono::milliseconds idle{30'000};       // between two requests
  // After the last answer so much of what still arrives is read and dropped, for so long: closing
  // at once over unread bytes would take the answer from the client.
  size_t linger_bytes = 64 << 10;
  std::chrono::milliseconds linger{1'000};
};

}  // namespace tessera
