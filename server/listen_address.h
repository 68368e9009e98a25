// Where a server listens: "127.0.0.1:50051", "[::1]:0", "localhost:8080". Port 0: any free one.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace tessera {

struct ListenAddress {
  std::string host;  // without brackets
  int port = 0;
};

// INVALID_ARGUMENT that quotes `text`.
absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text);
std::string ToString(const ListenAddress& address);

}  // namespace tessera
