// How the CUDA backend keeps the matrices that it multiplies with.
#pragma once

#include <cstdint>

namespace tessera {

// 8-bit weights: a row is float32 `scale` times its numbers; scale = the row's largest magnitude
// over the largest number of the format, numbers rounded to nearest, ties to even. 4-bit weights:
// the same for each group of 64 columns, the scale rounded to five significant bits. Where rows are
// of 8 bits, too, each row of x becomes a scale times its numbers in the same way before it is
// multiplied, and the tensor cores multiply 8-bit numbers.
enum class WeightFormat : uint8_t {
  kActivations,  // numbers of the activations' type, no scales
  kFloat8,       // E4M3 (OCP OFP8: no infinities), at most 448
  kInt8,         // -127 … 127
  kInt4,         // -7 … 7; weights that give logits are kInt8
  kFloat8W8A8,   // kFloat8, and so are rows; on Hopper only; weights that give logits are kFloat8
};

inline constexpr WeightFormat kQuantisedFormats[] = {
    WeightFormat::kFloat8, WeightFormat::kInt8, WeightFormat::kInt4, WeightFormat::kFloat8W8A8};

// "fp8", "int8", "int4", "fp8-w8a8"; "" of kActivations.
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
    case WeightFormat::kFloat8W8A8:
      return "fp8-w8a8";
  }
  return "";
}

}  // namespace tessera
