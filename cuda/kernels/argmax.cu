// The largest of each row's values: the greedy choice of tokens, so that logits stay on the device.
#include "cuda/kernels/kernels.h"
#include "gpu/gpu.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;

struct Candidate {
  float value;
  int place;  // INT_MAX: none
};

// NaN before all numbers, larger before smaller ones, the first of equals.
__device__ __forceinline__ Candidate Better(const Candidate& a, const Candidate& b) {
  const bool nan_a = !(a.value == a.value);
  const bool nan_b = !(b.value == b.value);
  if (nan_a || nan_b || a.value == b.value) {
    return nan_a == nan_b ? (a.place < b.place ? a : b) : nan_a ? a : b;
  }
  return a.value > b.value ? a : b;
}

__device__ __forceinline__ Candidate BestOfWarp(Candidate best) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    best = Better(best, {gpu::ShuffleXor(best.value, mask), gpu::ShuffleXor(best.place, mask)});
  }
  return best;
}

__global__ void __launch_bounds__(kThreads)
    ArgMaxKernel(const float* x, int64_t stride, int columns, int32_t* places, float* values) {
  gpu::WaitForPrevious();
  __shared__ Candidate of_warps[kWarps];
  const float* row = x + blockIdx.x * stride;
  const int thread = static_cast<int>(threadIdx.x);
  Candidate best = {-INFINITY, INT32_MAX};
  for (int i = thread; i < columns; i += kThreads) best = Better(best, {row[i], i});
  best = BestOfWarp(best);
  if (thread % 32 == 0) of_warps[thread / 32] = best;
  gpu::SyncBlock();
  if (thread >= 32) return;  // whole warps
  best = BestOfWarp(thread < kWarps ? of_warps[thread] : Candidate{-INFINITY, INT32_MAX});
  if (thread == 0) {
    places[blockIdx.x] = best.place;
    values[blockIdx.x] = best.value;
  }
}

}  // namespace

void ArgMax(Tensor x, int64_t columns, const Largest& largest, Stream stream) {
  gpu::Launch(ArgMaxKernel, {dim3(static_cast<unsigned>(x.rows())), kThreads}, stream,
              x.as<float>(), x.cols(), static_cast<int>(columns), largest.places.as<int32_t>(),
              largest.values.as<float>());
}

}  // namespace tessera::cuda
