// Layer norm (Ba et al. 2016, arXiv 1607.06450) and RMS norm (Zhang and Sennrich 2019, arXiv
// 1910.07467) of rows, with the residual sum before them.
#include "cuda/kernels/combine.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T>
struct NormTask {
  T* x;
  Combined<T> branches[2];  // without choices: rows as they are
  int count;
  const float* weight;
  const float* bias;
  float scale;
  float epsilon;
  bool centred;  // layer norm
  int64_t cols;
  T* y;
};

// Combined rows are rounded as if they had been stored.
template <typename T>
__device__ void LoadBranch(const Combined<T>& from, int64_t c, int64_t cols, bool aligned,
                           float (&branch)[8]) {
  const int64_t row = blockIdx.x;
  if (from.choices == 0) {
    LoadEight(from.y + row * cols, c, cols, aligned, branch);
    return;
  }
  CombineEight(from, row, c, cols, aligned, branch);
#pragma unroll
  for (int j = 0; j < 8; ++j) branch[j] = ToFloat(Round<T>(branch[j]));
}

// values[c] = the row, summed and rounded as it is stored.
template <typename T>
__device__ void SumRow(const NormTask<T>& task, float* values) {
  const int64_t cols = task.cols;
  const int64_t row = blockIdx.x * cols;
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float sum[8], branch[8];
    LoadEight(task.x + row, c, cols, aligned, sum);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= task.count) break;
      LoadBranch(task.branches[i], c, cols, aligned, branch);
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[j] = fmaf(task.scale, branch[j], sum[j]);
    }
    if (task.count > 0) StoreEight(sum, c, cols, aligned, task.x + row);
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

void AddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
             float scale, Tensor y, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    NormTask<T> task = {.x = x.as<T>(),
                        .branches = {},
                        .count = static_cast<int>(branches.size()),
                        .weight = norm.weight.as<float>(),
                        .bias = norm.bias.as<float>(),
                        .scale = scale,
                        .epsilon = norm.epsilon,
                        .centred = norm.kind == NormKind::kLayerNorm,
                        .cols = x.cols(),
                        .y = y.as<T>()};
    for (size_t i = 0; i < branches.size(); ++i) {
      const Routing& routing = branches[i].routing;
      task.branches[i] = {branches[i].rows.as<T>(), routing.places.as<int32_t>(),
                          routing.weights.as<float>(),
                          branches[i].routed() ? static_cast<int>(routing.places.cols()) : 0};
    }
    const size_t shared = static_cast<size_t>(x.cols()) * sizeof(float);
    gpu::Launch(AddNormKernel<T>, {dim3(static_cast<unsigned>(x.rows())), kThreads, shared}, stream,
                task);
  });
}

}  // namespace tessera::cuda
