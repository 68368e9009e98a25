// The one dense inner loop of our own in float32.
#pragma once

#include <cstdint>

namespace tessera {

// c [rows, cols] += a [rows, inner] · b [inner, cols]; cols is a multiple of 16, strides are in
// elements. Every element is one chain of multiply-adds in the order of `inner`, so its bits do not
// depend on the other rows.
void MultiplyAdd(int64_t rows, const float* a, int64_t a_stride, int64_t inner, const float* b,
                 int64_t b_stride, int64_t cols, float* c, int64_t c_stride);

}  // namespace tessera
