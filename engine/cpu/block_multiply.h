// The one dense inner loop of our own in float32.
#pragma once

#include <cstdint>

namespace tessera {

// For rows ≥ 1: c [rows, cols] += a [rows, inner] · b [inner, cols]; cols is a multiple of 16,
// strides are in elements. What is added to an element is one chain of multiply-adds in the order
// of `inner`, so its bits do not depend on the other rows. The `inner` · 64 bytes from `next` on
// are fetched into the cache meanwhile: what the caller reads next. They need not be readable.
void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride, const void* next);

}  // namespace tessera
