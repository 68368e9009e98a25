// Rows of a KV cache of 8 bits (engine/backend/operands.h, KvLayer), on the way in and on the way
// out.
#pragma once

#include "cuda/kernels/eight_bit.h"

namespace tessera::cuda {

// Exponents, as float32 stores them, of scales s such that T holds s and 448 · s.
template <typename T>
struct ScaleExponents;
template <>
struct ScaleExponents<BFloat16> {
  static constexpr int kLeast = 127 - 126;
  static constexpr int kMost = 127 + 119;
};
template <>
struct ScaleExponents<Float16> {
  static constexpr int kLeast = 127 - 24;
  static constexpr int kMost = 127 + 7;
};

// The scale of a row of T whose largest Magnitude() is `most`.
template <typename T>
__device__ __forceinline__ float RowScale(float most) {
  if (most == 0) return 1.0f;
  if (most == INFINITY) return INFINITY;
  const uint32_t bits = gpu::FloatBits(most);
  const int exponent = static_cast<int>(bits >> 23);
  const int scale = exponent - 8 + ((bits & 0x7fffff) > 0x600000 ? 1 : 0);  // 448 is 1.75 · 2^8
  const int bounded = min(max(scale, ScaleExponents<T>::kLeast), ScaleExponents<T>::kMost);
  return gpu::BitsFloat(static_cast<uint32_t>(bounded) << 23);
}

// A number of a row with that scale.
__device__ __forceinline__ Float8 RowNumber(float x, float scale) {
  return {scale < INFINITY ? Quantize<WeightFormat::kFloat8>(x * (1.0f / scale)) : uint8_t{0}};
}

// `scale` as a pair of T for WidenSixteen().
template <typename T>
__device__ __forceinline__ uint32_t ScalePair(float scale) {
  const uint32_t bits = Round<T>(scale).bits;
  return bits << 16 | bits;
}

// Sixteen numbers times their row's scale; both ends aligned to 16 bytes. Exact where T holds the
// products as normal numbers.
template <typename T>
__device__ __forceinline__ void WidenSixteen(const Float8* numbers, uint32_t scale, T* widened) {
  constexpr uint32_t kMinusZeros = 0x80008000;  // so that no sign is lost
  const auto four = *reinterpret_cast<const uint4*>(numbers);
  const auto widen = [&](uint32_t bytes) {
    const uint32_t pair = WidenPair<WeightFormat::kFloat8, T>(bytes);
    return Pairs<T>::MultiplyAdd(pair, scale, kMinusZeros);
  };
  const auto low = [&](uint32_t word) { return widen((word & 0xff) | (word & 0xff00) << 8); };
  const auto high = [&](uint32_t word) { return widen(word >> 16 | (word >> 8 & 0xff0000)); };
  auto* const to = reinterpret_cast<uint4*>(widened);
  to[0] = uint4{low(four.x), high(four.x), low(four.y), high(four.y)};
  to[1] = uint4{low(four.z), high(four.z), low(four.w), high(four.w)};
}

}  // namespace tessera::cuda
