// How much memory this process may use.
#pragma once

#include <cstdint>

namespace tessera {

// The machine's memory or the control group's limit (cgroup v2 memory.max), whichever is less, in bytes.
int64_t SystemMemoryBytes();

}  // namespace tessera
