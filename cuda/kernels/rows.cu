// Operations that treat every row by itself.
#include "cuda/kernels/activate.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;

// y[i] = x[rows[i]], or with kScatter y[rows[i]] = x[i]; rows of `words` Words. A row below 0
// stands for sampled[-1 - row].
template <typename Word, bool kScatter>
__global__ void MoveRows(const Word* x, const int32_t* rows, const int32_t* sampled,
                         int64_t sampled_limit, int64_t words, int64_t limit, Word* y) {
  gpu::WaitForPrevious();
  const int64_t i = blockIdx.x;
  int64_t row = rows[i];
  gpu::Require(-1 - row < sampled_limit);
  if (row < 0) row = sampled[-1 - row];
  gpu::Require(row >= 0 && row < limit);
  const Word* from = x + (kScatter ? i : row) * words;
  Word* to = y + (kScatter ? row : i) * words;
  for (int64_t w = threadIdx.x; w < words; w += kThreads) to[w] = from[w];
}

// `limit` is the number of rows on the side that `rows` names.
template <bool kScatter>
void Move(Tensor x, Tensor rows, Tensor sampled, int64_t limit, Tensor y, Stream stream) {
  const gpu::Grid grid = {dim3(static_cast<unsigned>(rows.elements())), kThreads};
  const int64_t bytes = x.cols() * static_cast<int64_t>(DTypeBytes(x.dtype));
  const auto move = [&](auto word) {
    using Word = decltype(word);
    gpu::Launch(MoveRows<Word, kScatter>, grid, stream, x.as<Word>(), rows.as<int32_t>(),
                sampled.as<int32_t>(), sampled.empty() ? int64_t{0} : sampled.elements(),
                bytes / static_cast<int64_t>(sizeof(Word)), limit, y.as<Word>());
  };
  if (bytes % 16 == 0) {
    move(uint4());
  } else if (bytes % 4 == 0) {
    move(uint32_t());
  } else {
    move(uint16_t());
  }
}

// x[rows[i]] += source[i]; without rows x[i] += source[i].
template <typename T>
__global__ void AddKernel(T* x, const T* source, const int32_t* rows, int64_t cols, int64_t limit) {
  gpu::WaitForPrevious();
  const int64_t i = blockIdx.x;
  const int64_t row = rows == nullptr ? i : rows[i];
  gpu::Require(row >= 0 && row < limit);
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float sum[8], more[8];
    LoadEight(x + row * cols, c, cols, aligned, sum);
    LoadEight(source + i * cols, c, cols, aligned, more);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j] += more[j];
    StoreEight(sum, c, cols, aligned, x + row * cols);
  }
}

template <typename T>
__global__ void ScaleKernel(T* x, const float* factors, int64_t cols) {
  gpu::WaitForPrevious();
  const int64_t row = blockIdx.x;
  const float factor = factors[row];
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float values[8];
    LoadEight(x + row * cols, c, cols, aligned, values);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] *= factor;
    StoreEight(values, c, cols, aligned, x + row * cols);
  }
}

template <typename T>
__global__ void GatedKernel(const T* x, Activation activation, int64_t ffn, T* y) {
  gpu::WaitForPrevious();
  const T* gates = x + int64_t{blockIdx.x} * 2 * ffn;
  const bool aligned = ffn % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < ffn; c += kThreads * 8) {
    float gate[8], up[8];
    LoadEight(gates, c, ffn, aligned, gate);
    LoadEight(gates + ffn, c, ffn, aligned, up);
#pragma unroll
    for (int j = 0; j < 8; ++j) up[j] *= Activate(activation, gate[j]);
    StoreEight(up, c, ffn, aligned, y + int64_t{blockIdx.x} * ffn);
  }
}

gpu::Grid BlockPerRow(int64_t rows) { return {dim3(static_cast<unsigned>(rows)), kThreads}; }

}  // namespace

void Embed(Tensor table, Tensor ids, Tensor sampled, Tensor y, Stream stream) {
  Move<false>(table, ids, sampled, table.rows(), y, stream);
}

void GatherRows(Tensor x, Tensor rows, Tensor y, Stream stream) {
  Move<false>(x, rows, {}, x.rows(), y, stream);
}

void PutRows(Tensor x, Tensor source, Tensor rows, Stream stream) {
  Move<true>(source, rows, {}, x.rows(), x, stream);
}

void AddRows(Tensor x, Tensor source, Tensor rows, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(AddKernel<T>, BlockPerRow(rows.elements()), stream, x.as<T>(), source.as<T>(),
                rows.as<int32_t>(), x.cols(), x.rows());
  });
}

void Add(Tensor x, Tensor branch, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(AddKernel<T>, BlockPerRow(x.rows()), stream, x.as<T>(), branch.as<T>(),
                static_cast<const int32_t*>(nullptr), x.cols(), x.rows());
  });
}

void ScaleRows(Tensor x, Tensor factors, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(ScaleKernel<T>, BlockPerRow(x.rows()), stream, x.as<T>(), factors.as<float>(),
                x.cols());
  });
}

void GatedActivate(Tensor x, Activation activation, Tensor y, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(GatedKernel<T>, BlockPerRow(x.rows()), stream, x.as<T>(), activation, y.cols(),
                y.as<T>());
  });
}

}  // namespace tessera::cuda
