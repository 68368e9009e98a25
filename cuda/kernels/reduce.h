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

// All kThreads threads of the block call; may be called again at once.
template <int kThreads>
__device__ __forceinline__ float BlockSum(float value) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float sums[kWarps];
  value = WarpSum(value);
  gpu::SyncBlock();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  gpu::SyncBlock();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) total += sums[i];
  return total;
}

}  // namespace tessera::cuda
