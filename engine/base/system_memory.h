// How much memory this process may use, and what it has.
#pragma once

#include <cstdint>

namespace tessera {

// The machine's memory or its control group's limit (ControlGroupMemoryBytes), whichever is less,
// in bytes.
int64_t SystemMemoryBytes();

// What the process has resident of memory that no file backs, in bytes; 0 where /proc does not
// tell.
int64_t ResidentHeapBytes();

}  // namespace tessera
