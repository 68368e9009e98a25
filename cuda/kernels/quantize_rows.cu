// Rows of activations on their way to products of 8-bit numbers.
#include "cuda/kernels/eight_bit.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;

struct __align__(8) EightBytes {
  uint8_t values[8];
};

// A block for each row, which it reads twice: for the scale, then for the numbers.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    QuantizeRowsKernel(const T* x, int64_t cols, uint8_t* y, int64_t stride, float* scales) {
  gpu::WaitForPrevious();
  const int64_t row = blockIdx.x;
  const bool aligned = cols % 8 == 0;
  float values[8];
  float most = 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    LoadEight(x + row * cols, c, cols, aligned, values);
#pragma unroll
    for (int j = 0; j < 8; ++j) most = fmaxf(most, Magnitude(values[j]));
  }
  const float scale = BlockMax<kThreads>(most) / kMaxFloat8;
  if (threadIdx.x == 0) scales[row] = scale;
  const bool usable = scale > 0 && scale < INFINITY;
  for (int64_t c = threadIdx.x * 8; c < stride; c += kThreads * 8) {
    LoadEight(x + row * cols, c, cols, aligned && c < cols, values);
    EightBytes bytes;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      bytes.values[j] = Quantize<WeightFormat::kFloat8>(usable ? values[j] / scale : 0.0f);
    }
    *reinterpret_cast<EightBytes*>(y + row * stride + c) = bytes;
  }
}

}  // namespace

void QuantizeRows(Tensor x, Tensor y, float* scales, Stream stream) {
  const gpu::Grid grid = {dim3(static_cast<unsigned>(x.rows())), kThreads};
  ForDType(x.dtype, [&](auto type) {
    using T = decltype(type);
    gpu::Launch(QuantizeRowsKernel<T>, grid, stream, x.as<T>(), x.cols(), y.as<uint8_t>(), y.cols(),
                scales);
  });
}

}  // namespace tessera::cuda
