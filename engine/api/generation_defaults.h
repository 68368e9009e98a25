// What a request gets for the sampling fields that it leaves unset.
#pragma once

#include <cstdint>

namespace tessera {

// In the ranges of engine/api/sampling_range.h.
struct GenerationDefaults {
  float temperature = 0;  // greedy
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;

  bool operator==(const GenerationDefaults&) const = default;
};

}  // namespace tessera
