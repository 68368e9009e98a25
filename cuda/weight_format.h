// How the CUDA backend keeps the matrices that it multiplies with.
#pragma once

#include <cstdint>

namespace tessera {

// 8-bit weights: a row is float32 `scale` times its numbers; scale = the row's largest magnitude
// over the largest number of the format, numbers rounded to nearest, ties to even. 4-bit weights:
// the same for each group of 64 columns, the scale rounded to five significant bits.
enum class WeightFormat : uint8_t {
  kActivations,  // numbers of the activations' type, no scales
  kFloat8,       // E4M3 (OCP OFP8: no infinities), at most 448
  kInt8,         // -127 … 127
  kInt4,         // -7 … 7; weights that give logits are kInt8
};

}  // namespace tessera
