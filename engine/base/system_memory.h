// How much memory this process may use.
#pragma once

#include <cstdint>

namespace tessera {

// The machine's memory or its control group's limit (ControlGroupMemoryBytes), whichever is less, in bytes.
int64_t SystemMemoryBytes();

}  // namespace tessera
