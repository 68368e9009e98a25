#include "engine/base/processors.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "engine/base/control_group.h"

namespace tessera {

int Processors::threads() const {
  if (!quota || *quota >= allowed) return allowed;
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

std::string Processors::Describe() const {
  std::string text = fmt::format("threads: {} of {} processors", threads(), allowed);
  if (quota) text += fmt::format(", the control group allows {:.4g}", *quota);
  return text;
}

Processors UsableProcessors() { return {omp_get_num_procs(), ControlGroupCpus()}; }

}  // namespace tessera
