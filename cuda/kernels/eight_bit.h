// 8-bit weights (weight_format.h): how they lie, and how they become numbers of the tensor cores'
// types, all of which bfloat16 and float16 hold exactly.
//
// [experts, blocks of 16 rows, blocks of 64 columns, 1024 bytes], what is beyond W zero. A block is
// what a warp's lanes take as operand a of four products of 16 columns (gpu.h,
// MultiplyBFloat16()): 16 bytes of each lane for rows 0 … 7, then 16 of each for rows 8 … 15. Byte
// 4 s + i of lane 4 g + t holds row g, or g + 8, column 16 s + {2 t, 2 t + 8, 2 t + 1, 2 t + 9}[i].
#pragma once

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"

namespace tessera::cuda {

constexpr int kBlockBytes = kBlockRows * kBlockCols;
constexpr int kBlockSteps = kBlockCols / 16;  // products of a block

__host__ __device__ __forceinline__ int64_t RowBlocks(int64_t out) {
  return (out + kBlockRows - 1) / kBlockRows;
}

// Where a number of an expert's matrix lies; `stride` columns to a row, a multiple of 64.
__device__ __forceinline__ int64_t EightBitPlace(int64_t row, int64_t col, int64_t stride) {
  const int64_t block = row / kBlockRows * (stride / kBlockCols) + col / kBlockCols;
  const int r = static_cast<int>(row % kBlockRows);
  const int c = static_cast<int>(col % 16);
  const int lane = r % 8 * 4 + c % 8 / 2;
  const int step = static_cast<int>(col % kBlockCols / 16);
  return block * kBlockBytes + (r / 8 * 32 + lane) * 16 + step * 4 + c % 2 * 2 + c / 8;
}

// |x|, infinite where x is not finite.
__device__ __forceinline__ float Magnitude(float x) {
  return fabsf(x) < INFINITY ? fabsf(x) : INFINITY;
}

constexpr float kMaxFloat8 = 448.0f;
constexpr float kMaxInt8 = 127.0f;

// The number of a format nearest to x, ties to even; those beyond its largest become that.
template <WeightFormat kFormat>
__device__ __forceinline__ uint8_t Quantize(float x);
template <>
__device__ __forceinline__ uint8_t Quantize<WeightFormat::kInt8>(float x) {
  const auto number = static_cast<int>(rintf(fminf(fmaxf(x, -kMaxInt8), kMaxInt8)));
  return static_cast<uint8_t>(number & 0xff);
}
template <>
__device__ __forceinline__ uint8_t Quantize<WeightFormat::kFloat8>(float x) {
  const uint32_t sign = gpu::FloatBits(x) >> 24 & 0x80;
  const float magnitude = fminf(fabsf(x), kMaxFloat8);
  uint32_t number;
  if (magnitude < 0x1p-6f) {
    number = static_cast<uint32_t>(rintf(magnitude * 512.0f));  // subnormal, 2^-9 apart
  } else {
    // 20 of 23 bits of the fraction go; exponents count from -7 instead of -127.
    const uint32_t bits = gpu::FloatBits(magnitude);
    number = ((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120u << 3);
  }
  return static_cast<uint8_t>(sign | number);
}
template <>
__device__ __forceinline__ uint8_t Quantize<WeightFormat::kFloat8W8A8>(float x) {
  return Quantize<WeightFormat::kFloat8>(x);
}

// Pairs of a 16-bit type in one register.
template <typename T>
struct Pairs;
template <>
struct Pairs<BFloat16> {
  static constexpr uint32_t kOne = 0x3f803f80;
  static constexpr uint32_t kInteger = 0x43004300;     // 128: the last seven bits count ones
  static constexpr int kFloat8Shift = 4;               // from E4M3's fraction to this one's
  static constexpr uint32_t kFloat8Lift = 0x7b807b80;  // 2^120: the exponents' biases apart
  static __device__ __forceinline__ uint32_t MultiplyAdd(uint32_t a, uint32_t b, uint32_t c) {
    return gpu::MultiplyAddBFloat16(a, b, c);
  }
};
template <>
struct Pairs<Float16> {
  static constexpr uint32_t kOne = 0x3c003c00;
  static constexpr uint32_t kInteger = 0x64006400;  // 1024
  static constexpr int kFloat8Shift = 1;
  static constexpr uint32_t kFloat8Lift = 0x5c005c00;  // 2^8
  static __device__ __forceinline__ uint32_t MultiplyAdd(uint32_t a, uint32_t b, uint32_t c) {
    return gpu::MultiplyAddFloat16(a, b, c);
  }
};

// Bytes 0 and 2 of `bytes` as a pair of T; exact.
template <WeightFormat kFormat, typename T>
__device__ __forceinline__ uint32_t WidenPair(uint32_t bytes) {
  using P = Pairs<T>;
  constexpr uint32_t kSigns = 0x80008000;
  if constexpr (kFormat == WeightFormat::kInt8) {
    // n = (b + n % b) - (b + 128 if n is negative), b = P::kInteger.
    const uint32_t ones = P::kInteger | (bytes & 0x007f007f);
    const uint32_t base = P::kInteger | (bytes & 0x00800080) | kSigns;
    return P::MultiplyAdd(ones, P::kOne, base);
  } else {
    const uint32_t high = bytes << 8;
    const uint32_t low = (high & kSigns) | (high & 0x7f007f00) >> P::kFloat8Shift;
    return P::MultiplyAdd(low, P::kFloat8Lift, kSigns);
  }
}

// A lane's 16 bytes of eight rows of a block.
struct __align__(16) LaneBytes {
  uint32_t steps[kBlockSteps];
};

// Operand a of product `step` of a block: `upper` of rows 0 … 7, `lower` of rows 8 … 15.
template <WeightFormat kFormat, typename T>
__device__ __forceinline__ void WidenOperand(const LaneBytes& upper, const LaneBytes& lower,
                                             int step, uint32_t (&a)[4]) {
  a[0] = WidenPair<kFormat, T>(upper.steps[step]);
  a[1] = WidenPair<kFormat, T>(lower.steps[step]);
  a[2] = WidenPair<kFormat, T>(upper.steps[step] >> 8);
  a[3] = WidenPair<kFormat, T>(lower.steps[step] >> 8);
}

}  // namespace tessera::cuda
