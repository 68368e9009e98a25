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

// "fp8", "int8", "int4"; "" of kActivations.
inline const char* WeightFormatName(WeightFormat format) {
  switch (format) {
    case WeightFormat::kActivations:
      return "";
    case WeightFormat::kFloat8:
      return "fp8";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  return "";
}

}  // namespace tessera
