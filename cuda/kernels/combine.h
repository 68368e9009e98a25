// What a row's experts gave, weighted and summed.
#pragma once

#include "cuda/kernels/number.h"

namespace tessera::cuda {

template <typename T>
struct Combined {
  const T* y;             // [T · choices, cols]
  const int32_t* places;  // [T, choices]
  const float* weights;   // [T, choices]
  int choices;
};

// sum = Σ_j weights[row, j] · y[places[row, j]] of columns [c, c + 8), in the order of j.
template <typename T>
__device__ __forceinline__ void CombineEight(const Combined<T>& from, int64_t row, int64_t c,
                                             int64_t cols, bool aligned, float (&sum)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i] = 0;
  for (int64_t j = row * from.choices; j < (row + 1) * from.choices; ++j) {
    float part[8];
    LoadEight(from.y + from.places[j] * cols, c, cols, aligned, part);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] = fmaf(from.weights[j], part[i], sum[i]);
  }
}

}  // namespace tessera::cuda
