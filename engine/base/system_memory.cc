#include "engine/base/system_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "engine/base/control_group.h"

namespace tessera {

int64_t SystemMemoryBytes() {
  const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return std::min(machine, ControlGroupMemoryBytes().value_or(machine));
}

int64_t ResidentHeapBytes() {
  std::ifstream file("/proc/self/statm");  // in pages
  int64_t size = 0;
  int64_t resident = 0;
  int64_t shared = 0;
  if (!(file >> size >> resident >> shared)) return 0;
  return (resident - shared) * sysconf(_SC_PAGESIZE);
}

}  // namespace tessera
