// Elements of tensors in kernels, and eight of them at a time.
#pragma once

#include "engine/backend/tensor.h"
#include "gpu/gpu.h"

namespace tessera::cuda {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
// E4M3.
struct Float8 {
  uint8_t bits;
};

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(BFloat16 x) { return gpu::BFloat16ToFloat(x.bits); }
__device__ __forceinline__ float ToFloat(Float16 x) { return gpu::Float16ToFloat(x.bits); }
__device__ __forceinline__ float ToFloat(Float8 x) {
  const uint32_t bits = x.bits;  // 2^120: the exponents' biases apart
  return gpu::BitsFloat((bits & 0x80) << 24 | (bits & 0x7f) << 20) * 0x1p120f;
}

// The nearest number of type T, ties to even.
template <typename T>
__device__ __forceinline__ T Round(float x);
template <>
__device__ __forceinline__ float Round<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ BFloat16 Round<BFloat16>(float x) {
  return {gpu::FloatToBFloat16(x)};
}
template <>
__device__ __forceinline__ Float16 Round<Float16>(float x) {
  return {gpu::FloatToFloat16(x)};
}

// Calls f with an element of the type that `dtype` names: float, BFloat16 or Float16.
template <typename F>
void ForDType(DType dtype, const F& f) {
  if (dtype == DType::kFloat32) {
    f(float());
  } else if (dtype == DType::kBFloat16) {
    f(BFloat16());
  } else {
    f(Float16());
  }
}

// Eight neighbouring elements, loaded and stored in pieces of 16 bytes.
template <typename T>
struct __align__(16) Eight {
  T values[8];
};

// Elements [i, i + 8) of a row of n, those beyond it zero; `aligned` where row and n are multiples
// of eight elements.
template <typename T>
__device__ __forceinline__ void LoadEight(const T* row, int64_t i, int64_t n, bool aligned,
                                          float (&values)[8]) {
  if (aligned) {
    const auto eight = *reinterpret_cast<const Eight<T>*>(row + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] = ToFloat(eight.values[j]);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] = i + j < n ? ToFloat(row[i + j]) : 0.0f;
  }
}

template <typename T>
__device__ __forceinline__ void StoreEight(const float (&values)[8], int64_t i, int64_t n,
                                           bool aligned, T* row) {
  if (aligned) {
    Eight<T> eight;
#pragma unroll
    for (int j = 0; j < 8; ++j) eight.values[j] = Round<T>(values[j]);
    *reinterpret_cast<Eight<T>*>(row + i) = eight;
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (i + j < n) row[i + j] = Round<T>(values[j]);
    }
  }
}

}  // namespace tessera::cuda
