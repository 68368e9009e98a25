// How the CUDA backend keeps the matrices that it multiplies with.
#pragma once

#include <cstdint>

namespace tessera {

// 8-bit weights: a row is float32 `scale` times its numbers; scale = the row's largest magnitude
// over the largest number of the format, numbers rounded to nearest, ties to even.
enum class WeightFormat : uint8_t {
  kActivations,  // numbers of the activations' type, no scales
  kFloat8,       // E4M3 (OCP OFP8: no infinities), at most 448
  kInt8,         // -127 … 127
};

}  // namespace tessera
