// 4-bit weights (weight_format.h): how they lie, and how they become numbers of the tensor cores'
// types, which bfloat16 and float16 hold exactly (a scale has five significant bits, a number
// three).
//
// [experts, boxes of 64 rows, boxes of 64 columns, 2176 bytes], what is beyond W zero: four blocks
// of 16 rows, then the scales of the 64 rows, of the activations' type. A block is what a warp's
// lanes take as operand a of four products of 16 columns (gpu.h, MultiplyBFloat16()), 16 bytes of
// each lane. Word 2 h + c of lane 4 g + t holds row g + 8 h; its bits 4 n … 4 n + 3 are the number,
// plus eight, of column 32 c + 16 (n % 4 / 2) + 8 (n % 2) + 2 t + n / 4.
#pragma once

#include "cuda/kernels/eight_bit.h"

namespace tessera::cuda {

constexpr int kFourBitBlockBytes = kBlockBytes / 2;
constexpr int kFourBitScales = kBoxRows / kBlockRows * kFourBitBlockBytes;  // where they begin
static_assert(kFourBitBoxBytes == kFourBitScales + kBoxRows * 2);
constexpr float kMaxInt4 = 7.0f;

__host__ __device__ __forceinline__ int64_t RowBoxes(int64_t out) {
  return (out + kBoxRows - 1) / kBoxRows;
}

// Of an expert's matrix, `stride` columns to a row, a multiple of 64.
__device__ __forceinline__ int64_t FourBitBox(int64_t row, int64_t col, int64_t stride) {
  return (row / kBoxRows * (stride / kBlockCols) + col / kBlockCols) * kFourBitBoxBytes;
}

__device__ __forceinline__ int FourBitColumn(int lane, int word, int n) {
  return word % 2 * 32 + n % 4 / 2 * 16 + n % 2 * 8 + lane % 4 * 2 + n / 4;
}

// The scale of a group, by its largest magnitude: a 7th of it in five significant bits.
__device__ __forceinline__ float FourBitScale(float most) {
  constexpr int kDropped = 19;  // of 23 bits of the fraction
  const uint32_t bits = gpu::FloatBits(most / kMaxInt4);
  const uint32_t half = (1u << (kDropped - 1)) - 1;
  return gpu::BitsFloat((bits + half + (bits >> kDropped & 1)) >> kDropped << kDropped);
}

// Bits 0 … 3 and 16 … 19 of `word` as a pair of T, times a pair of scales.
template <typename T>
__device__ __forceinline__ uint32_t WidenFour(uint32_t word, uint32_t scales) {
  using P = Pairs<T>;
  constexpr uint32_t kZero = 0x80008000;  // -0, so that nothing changes, not even the sign
  constexpr uint32_t kEight = P::kInteger | 0x00080008 | kZero;
  const uint32_t numbers = P::MultiplyAdd(P::kInteger | (word & 0x000f000f), P::kOne, kEight);
  return P::MultiplyAdd(numbers, scales, kZero);
}

// What a lane multiplies of a block.
struct FourBitLane {
  LaneBytes words;
  uint32_t upper, lower;  // the scales of rows g and g + 8, each twice

  // `scales` of the block's 16 rows.
  __device__ __forceinline__ FourBitLane(const LaneBytes& words, const uint16_t* scales, int lane)
      : words(words),
        upper(scales[lane / 4] * 0x00010001u),
        lower(scales[lane / 4 + 8] * 0x00010001u) {}

  template <typename T>
  __device__ __forceinline__ void Operand(int step, uint32_t (&a)[4]) const {
    const int shift = step % 2 * 8;
    const uint32_t up = words.steps[step / 2] >> shift;
    const uint32_t low = words.steps[2 + step / 2] >> shift;
    a[0] = WidenFour<T>(up, upper);
    a[1] = WidenFour<T>(low, lower);
    a[2] = WidenFour<T>(up >> 4, upper);
    a[3] = WidenFour<T>(low >> 4, lower);
  }
};

}  // namespace tessera::cuda
