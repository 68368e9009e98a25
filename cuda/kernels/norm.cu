// Layer norm (Ba et al. 2016, arXiv 1607.06450) and RMS norm (Zhang and Sennrich 2019, arXiv
// 1910.07467) of rows, with the residual sum before them.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T>
struct NormTask {
  T* x;
  const T* a;  // null for none
  const T* b;
  const float* weight;
  const float* bias;
  float scale;
  float epsilon;
  bool centred;  // layer norm
  int64_t cols;
  T* y;
};

// values[c] = the row, summed and rounded as it is stored.
template <typename T>
__device__ void SumRow(const NormTask<T>& task, float* values) {
  const int64_t cols = task.cols;
  const int64_t row = blockIdx.x * cols;
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float sum[8], delta[8];
    LoadEight(task.x + row, c, cols, aligned, sum);
    for (const T* more : {task.a, task.b}) {
      if (more == nullptr) continue;
      LoadEight(more + row, c, cols, aligned, delta);
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[j] = fmaf(task.scale, delta[j], sum[j]);
    }
    if (task.a != nullptr) StoreEight(sum, c, cols, aligned, task.x + row);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (c + j < cols) values[c + j] = ToFloat(Round<T>(sum[j]));
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) AddNormKernel(NormTask<T> task) {
  gpu::WaitForPrevious();
  auto* values = reinterpret_cast<float*>(gpu::SharedMemory());
  const int64_t cols = task.cols;
  SumRow(task, values);
  gpu::SyncBlock();
  float mean = 0;
  if (task.centred) {
    float sum = 0;
    for (int64_t c = threadIdx.x; c < cols; c += kThreads) sum += values[c];
    mean = BlockSum<kThreads>(sum) / static_cast<float>(cols);
  }
  float squares = 0;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) {
    const float centred = values[c] - mean;
    squares = fmaf(centred, centred, squares);
  }
  const float variance = BlockSum<kThreads>(squares) / static_cast<float>(cols);
  const float factor = 1.0f / sqrtf(variance + task.epsilon);
  T* y = task.y + blockIdx.x * cols;
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float normed[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (c + j >= cols) continue;
      const float shift = task.bias == nullptr ? 0.0f : task.bias[c + j];
      normed[j] = fmaf((values[c + j] - mean) * factor, task.weight[c + j], shift);
    }
    StoreEight(normed, c, cols, aligned, y);
  }
}

}  // namespace

void AddNorm(Tensor x, Tensor a, Tensor b, const NormWeights& norm, float scale, Tensor y,
             Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    const NormTask<T> task = {x.as<T>(),
                              a.as<T>(),
                              b.as<T>(),
                              norm.weight.as<float>(),
                              norm.bias.as<float>(),
                              scale,
                              norm.epsilon,
                              norm.kind == NormKind::kLayerNorm,
                              x.cols(),
                              y.as<T>()};
    const size_t shared = static_cast<size_t>(x.cols()) * sizeof(float);
    gpu::Launch(AddNormKernel<T>, {dim3(static_cast<unsigned>(x.rows())), kThreads, shared}, stream,
                task);
  });
}

}  // namespace tessera::cuda
