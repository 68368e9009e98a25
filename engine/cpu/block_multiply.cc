#include "engine/cpu/block_multiply.h"

#include <hwy/cache_control.h>

#include <array>
#include <utility>

// The order of these includes is Highway's.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/block_multiply.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "engine/cpu/vectors-inl.h"
// clang-format on

// This file is compiled once per instruction set (foreach_target); HWY_DYNAMIC_DISPATCH at its end
// picks one at run time.
HWY_BEFORE_NAMESPACE();
namespace tessera::HWY_NAMESPACE {

using namespace vectors::HWY_NAMESPACE;
constexpr int64_t kLine = 64;    // bytes of a line of the caches
constexpr int kSecondLevel = 2;  // of the caches: there what is fetched displaces nothing in use

// Rows of the tallest block: with two vectors of columns (one where a vector is 16 wide) its sums
// fill the registers but for a few.
constexpr int kTallest = kLanes == 16 ? 12 : 6;

// c [kRows, kVecs vectors] += a [kRows, inner] · b [inner, kVecs vectors]; the sum over `inner`
// runs in order, in registers (hence the unrolling). Turn i fetches what lies
// i · next_step bytes behind `next`.
template <int kRows, int kVecs>
HWY_INLINE void MultiplyBlock(const float* a, int64_t a_stride, int64_t inner, const float* b,
                              int64_t b_stride, float* c, int64_t c_stride, const char* next,
                              int64_t next_step) {
  const Floats d;
  Vec sums[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < inner; ++i) {
    __builtin_prefetch(next + i * next_step, 0, kSecondLevel);
    Vec row[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) row[v] = hn::LoadU(d, b + i * b_stride + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec factor = hn::Set(d, a[r * a_stride + i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) sums[r][v] = hn::MulAdd(factor, row[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      float* to = c + r * c_stride + v * kLanes;
      hn::StoreU(hn::Add(hn::LoadU(d, to), sums[r][v]), d, to);
    }
  }
}

template <int kRows>
void MultiplyRows(const float* a, int64_t a_stride, int64_t inner, const float* b, int64_t b_stride,
                  int64_t cols, float* c, int64_t c_stride, const char* next, int64_t next_step) {
  constexpr int kVecs = kLanes == 16 ? 1 : 2;
  for (int64_t col = 0; col < cols; col += kVecs * kLanes) {
    MultiplyBlock<kRows, kVecs>(a, a_stride, inner, b + col, b_stride, c + col, c_stride, next,
                                next_step);
  }
}

template <size_t... kRowsBelow>
constexpr auto MultiplyRowsByHeight(std::index_sequence<kRowsBelow...>) {
  return std::array{&MultiplyRows<kRowsBelow + 1>...};
}

void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride, const char* next) {
  constexpr auto kMultiply = MultiplyRowsByHeight(std::make_index_sequence<kTallest>());
  // Blocks of about equal height, as low ones wait for their few chains of sums. Each fetches its
  // share of what comes next, at the pace of its sums.
  int64_t blocks = (rows + kTallest - 1) / kTallest;
  const int64_t next_step = kLine / blocks;
  for (; blocks > 0; --blocks) {
    const int64_t height = rows / blocks;
    kMultiply[height - 1](a, a_stride, inner, b, b_stride, cols, c, c_stride, next, next_step);
    next += inner * next_step;
    a += height * a_stride;
    c += height * c_stride;
    rows -= height;
  }
}

}  // namespace tessera::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera {

HWY_EXPORT(MultiplyAdd);

void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride, const void* next) {
  HWY_DYNAMIC_DISPATCH(MultiplyAdd)
  (rows, a, a_stride, inner, b, b_stride, cols, c, c_stride, static_cast<const char*>(next));
}

}  // namespace tessera
#endif  // HWY_ONCE
