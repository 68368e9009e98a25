// The step between the two products of low-rank experts: only what a row chose goes on.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T>
__global__ void JoinLowRankKernel(const T* x, const float* low, const int32_t* chosen,
                                  const float* weights, int64_t choices, int64_t experts,
                                  int64_t rank, float scale, int64_t in, int64_t inner, T* joined) {
  gpu::WaitForPrevious();
  const int64_t row = blockIdx.x;
  T* to = joined + row * (in + inner);
  for (int64_t i = threadIdx.x; i < in; i += kThreads) to[i] = x[row * in + i];
  for (int64_t i = threadIdx.x; i < inner; i += kThreads) {
    const int64_t expert = i / rank % experts;
    float gate = 0;
    for (int64_t j = row * choices; j < (row + 1) * choices; ++j) {
      if (chosen[j] == expert) gate = scale * weights[j];
    }
    // Zero, not zero times a value that may be infinite.
    to[in + i] = Round<T>(gate == 0 ? 0.0f : gate * low[row * inner + i]);
  }
}

}  // namespace

void JoinLowRank(Tensor x, Tensor low, const Routing& routing, int64_t rank, float scale,
                 Tensor joined, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(JoinLowRankKernel<T>, {dim3(static_cast<unsigned>(x.rows())), kThreads}, stream,
                x.as<T>(), low.as<float>(), routing.experts.as<int32_t>(),
                routing.weights.as<float>(), routing.experts.cols(), routing.logits.cols(), rank,
                scale, x.cols(), low.cols(), joined.as<T>());
  });
}

}  // namespace tessera::cuda
