// Sums and maxima over a warp or a block; every thread gets the result, always of the same order of
// additions.
#pragma once

#include "gpu/gpu.h"

namespace tessera::cuda {

__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += gpu::ShuffleXor(value, mask);
  return value;
}

__device__ __forceinline__ float WarpMax(float value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value = fmaxf(value, gpu::ShuffleXor(value, mask));
  return value;
}

// One value of each warp, for all threads of the block to see. All kThreads of them call; may be
// called again at once.
template <int kThreads>
__device__ __forceinline__ const float* WarpValues(float value) {
  __shared__ float values[kThreads / 32];
  gpu::SyncBlock();
  if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = value;
  gpu::SyncBlock();
  return values;
}

// All kThreads threads of the block call these.
template <int kThreads>
__device__ __forceinline__ float BlockSum(float value) {
  const float* sums = WarpValues<kThreads>(WarpSum(value));
  float total = 0;
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) total += sums[i];
  return total;
}

template <int kThreads>
__device__ __forceinline__ float BlockMax(float value) {
  const float* maxima = WarpValues<kThreads>(WarpMax(value));
  float most = maxima[0];
#pragma unroll
  for (int i = 1; i < kThreads / 32; ++i) most = fmaxf(most, maxima[i]);
  return most;
}

}  // namespace tessera::cuda
