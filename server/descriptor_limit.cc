#include "server/descriptor_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

namespace tessera {
namespace {

constexpr int64_t kPerConnection = 2;
constexpr int64_t kMaxReserved = 256;  // for files, HTTP, gRPC itself
constexpr int64_t kMaxByDefault = 4096;
// A proxy multiplexes calls on few connections, but all its clients' have its address.
constexpr int64_t kFewestPerAddress = 64;

int64_t SoftLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
}

}  // namespace

DescriptorLimit RaiseDescriptorLimit() {
  DescriptorLimit result{.before = SoftLimit(), .now = 0};
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  result.now = SoftLimit();
  return result;
}

absl::StatusOr<ConnectionLimits> ChooseConnectionLimits(int64_t total, int64_t per_network,
                                                        int64_t descriptors) {
  const int64_t reserved = std::min(descriptors / 4, kMaxReserved);
  const int64_t possible = std::max<int64_t>(1, (descriptors - reserved) / kPerConnection);
  if (total > possible) {
    return absl::InvalidArgumentError(fmt::format(
        "--max-connections {}: at most {} with {} file descriptors; raise the limit (ulimit -Hn)",
        total, possible, descriptors));
  }
  ConnectionLimits limits{.total = total > 0 ? total : std::min(possible, kMaxByDefault),
                          .per_network = per_network,
                          .header_bytes = 0};
  if (per_network > limits.total) {
    return absl::InvalidArgumentError(
        fmt::format("--max-connections-per-address {}: at most {}, which all may have together",
                    per_network, limits.total));
  }
  if (per_network == 0) {
    limits.per_network = std::max(limits.total / 4, std::min(limits.total, kFewestPerAddress));
  }
  return limits;
}

absl::StatusOr<ConnectionLimits> ChooseConnectionLimits(int64_t total, int64_t per_network) {
  return ChooseConnectionLimits(total, per_network, SoftLimit());
}

}  // namespace tessera
