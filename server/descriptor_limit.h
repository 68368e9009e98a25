// How many file descriptors the process may have (RLIMIT_NOFILE), and how many connections that
// makes. Tests: tests/server/connections_test.cc.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/connections.h"

namespace tessera {

struct DescriptorLimit {
  int64_t before = 0;
  int64_t now = 0;
};

// Raises the soft limit to the hard one: the soft one is low for the sake of programs that use
// select(2).
DescriptorLimit RaiseDescriptorLimit();

// The limits for so many descriptors, with what was asked for; 0 asks for a default. A connection
// takes two descriptors, and some remain for the rest of the server. INVALID_ARGUMENT when more is
// asked for than there is.
absl::StatusOr<ConnectionLimits> ChooseConnectionLimits(int64_t total, int64_t per_network,
                                                        int64_t descriptors);
// For the descriptors that this process may have.
absl::StatusOr<ConnectionLimits> ChooseConnectionLimits(int64_t total, int64_t per_network);

}  // namespace tessera
