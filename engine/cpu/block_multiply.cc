#include "engine/cpu/block_multiply.h"

// The order of these includes is Highway's.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/block_multiply.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

// This file is compiled once per instruction set (foreach_target); HWY_DYNAMIC_DISPATCH at its end
// picks one at run time.
HWY_BEFORE_NAMESPACE();
namespace tessera::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Floats>;
constexpr int64_t kLanes = hn::MaxLanes(Floats());

// c [kRows, kVecs vectors] += a [kRows, inner] · b [inner, kVecs vectors]; the sum over `inner`
// runs in order, in registers (hence the unrolling).
template <int kRows, int kVecs>
HWY_INLINE void MultiplyBlock(const float* a, int64_t a_stride, int64_t inner, const float* b,
                              int64_t b_stride, float* c, int64_t c_stride) {
  const Floats d;
  Vec sums[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::LoadU(d, c + r * c_stride + v * kLanes);
  }
  for (int64_t i = 0; i < inner; ++i) {
    Vec row[kVecs];
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) row[v] = hn::LoadU(d, b + i * b_stride + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec factor = hn::Set(d, a[r * a_stride + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::MulAdd(factor, row[v], sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sums[r][v], d, c + r * c_stride + v * kLanes);
  }
}

template <int kRows>
void MultiplyRows(const float* a, int64_t a_stride, int64_t inner, const float* b, int64_t b_stride,
                  int64_t cols, float* c, int64_t c_stride) {
  int64_t col = 0;
  for (; col + 2 * kLanes <= cols; col += 2 * kLanes) {
    MultiplyBlock<kRows, 2>(a, a_stride, inner, b + col, b_stride, c + col, c_stride);
  }
  for (; col < cols; col += kLanes) {
    MultiplyBlock<kRows, 1>(a, a_stride, inner, b + col, b_stride, c + col, c_stride);
  }
}

void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride) {
  int64_t r = 0;
  for (; r + 6 <= rows; r += 6) {
    MultiplyRows<6>(a + r * a_stride, a_stride, inner, b, b_stride, cols, c + r * c_stride,
                    c_stride);
  }
  for (; r < rows; ++r) {
    MultiplyRows<1>(a + r * a_stride, a_stride, inner, b, b_stride, cols, c + r * c_stride,
                    c_stride);
  }
}

}  // namespace tessera::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera {

HWY_EXPORT(MultiplyAdd);

void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride) {
  HWY_DYNAMIC_DISPATCH(MultiplyAdd)(rows, a, a_stride, inner, b, b_stride, cols, c, c_stride);
}

}  // namespace tessera
#endif  // HWY_ONCE
