#include "engine/api/sampling_range.h"

#include <fmt/format.h>

namespace tessera {

std::string SamplingRange::Interval() const {
  return fmt::format("{}{:.10g}, {:.10g}]", open_low ? '(' : '[', low, high);
}

}  // namespace tessera
