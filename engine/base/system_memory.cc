#include "engine/base/system_memory.h"

#include <unistd.h>

#include <algorithm>

#include "engine/base/control_group.h"

namespace tessera {

int64_t SystemMemoryBytes() {
  const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return std::min(machine, ControlGroupMemoryBytes().value_or(machine));
}

}  // namespace tessera
