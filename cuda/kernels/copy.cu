// Weights on their way from a checkpoint into the layout of the kernels: conversion, transposition,
// interleaving, quantisation.
#include "cuda/kernels/four_bit.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"

namespace tessera::cuda {
namespace {

constexpr unsigned kTile = 32;  // rows and columns of a block
constexpr unsigned kThreads = 256;

// By way of shared memory, so that both sides are read and written along their rows.
template <typename T>
using SharedTile = T[kTile][kTile + 1];

// Rows from `row` and columns from `col` on, zeros beyond the matrix.
template <typename From, typename To>
__device__ __forceinline__ void LoadTile(const StoredMatrix& source, int64_t row, int64_t col,
                                         SharedTile<To>& tile) {
  const bool transposed = source.column_stride != 1;
  const auto* from = static_cast<const From*>(source.data);
  for (unsigned i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const unsigned r = transposed ? i % kTile : i / kTile;
    const unsigned c = transposed ? i / kTile : i % kTile;
    const bool inside = row + r < source.rows && col + c < source.cols;
    const int64_t place = (row + r) * source.row_stride + (col + c) * source.column_stride;
    tile[r][c] = Round<To>(inside ? ToFloat(from[place]) : 0.0f);
  }
  gpu::SyncBlock();
}

__device__ __forceinline__ int64_t PackedRow(const PackedRows& target, int64_t row) {
  const int64_t packed = target.first_row + row;
  return target.gated_half < 0 ? packed : packed / 8 * 16 + 8 * target.gated_half + packed % 8;
}

template <typename From, typename To>
__global__ void CopyMatrixKernel(StoredMatrix source, PackedRows target) {
  gpu::WaitForPrevious();
  __shared__ SharedTile<To> tile;
  const int64_t row = int64_t{blockIdx.y} * kTile;
  const int64_t col = int64_t{blockIdx.x} * kTile;
  LoadTile<From>(source, row, col, tile);
  auto* to = static_cast<To*>(target.data);
  for (unsigned i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int64_t r = row + i / kTile;
    const int64_t c = col + i % kTile;
    if (r >= source.rows || c >= source.cols) continue;
    to[PackedRow(target, r) * target.stride + target.first_col + c] = tile[i / kTile][i % kTile];
  }
}

// Where a number of a row-by-row quantised matrix lies.
template <WeightFormat kFormat>
__device__ __forceinline__ int64_t QuantizedPlace(int64_t row, int64_t col, int64_t stride) {
  if constexpr (kFormat == WeightFormat::kFloat8W8A8) return row * stride + col;
  return EightBitPlace(row, col, stride);
}

// A block quantises kTile rows; a warp has rows warp, warp + kWarps, … of them.
template <typename From, WeightFormat kFormat>
__global__ void QuantizeMatrixKernel(StoredMatrix source, PackedRows target) {
  gpu::WaitForPrevious();
  constexpr unsigned kWarps = kThreads / 32;
  constexpr unsigned kRows = kTile / kWarps;
  constexpr float kMost = kFormat == WeightFormat::kInt8 ? kMaxInt8 : kMaxFloat8;
  __shared__ SharedTile<float> tile;
  const int64_t first = int64_t{blockIdx.x} * kTile;
  const unsigned warp = threadIdx.x / 32;
  const unsigned lane = threadIdx.x % 32;
  float scales[kRows] = {};  // magnitudes at first
  for (int64_t col = 0; col < source.cols; col += kTile) {
    LoadTile<From>(source, first, col, tile);
#pragma unroll
    for (unsigned j = 0; j < kRows; ++j) {
      scales[j] = fmaxf(scales[j], Magnitude(tile[warp + j * kWarps][lane]));
    }
    gpu::SyncBlock();
  }
#pragma unroll
  for (unsigned j = 0; j < kRows; ++j) {
    for (int mask = 16; mask > 0; mask /= 2) {
      scales[j] = fmaxf(scales[j], gpu::ShuffleXor(scales[j], mask));
    }
    scales[j] /= kMost;
    const int64_t row = first + warp + j * kWarps;
    if (lane == 0 && row < source.rows) target.scales[PackedRow(target, row)] = scales[j];
  }
  auto* to = static_cast<uint8_t*>(target.data);
  for (int64_t col = 0; col < source.cols; col += kTile) {
    LoadTile<From>(source, first, col, tile);
#pragma unroll
    for (unsigned j = 0; j < kRows; ++j) {
      const int64_t row = first + warp + j * kWarps;
      if (row >= source.rows || col + lane >= source.cols) continue;
      const bool usable = scales[j] > 0 && scales[j] < INFINITY;
      const float x = usable ? tile[warp + j * kWarps][lane] / scales[j] : 0.0f;
      to[QuantizedPlace<kFormat>(PackedRow(target, row), col + lane, target.stride)] =
          Quantize<kFormat>(x);
    }
    gpu::SyncBlock();
  }
}

// A block quantises kTile rows of one group of 64 columns; a warp has rows warp, warp + kWarps, ….
template <typename From, typename To>
__global__ void QuantizeGroupsKernel(StoredMatrix source, PackedRows target) {
  gpu::WaitForPrevious();
  constexpr unsigned kWarps = kThreads / 32;
  static_assert(kBlockCols == 2 * kTile);
  __shared__ SharedTile<float> halves[2];
  const int64_t first = int64_t{blockIdx.y} * kTile;
  const int64_t col = int64_t{blockIdx.x} * kBlockCols;
  LoadTile<From>(source, first, col, halves[0]);
  LoadTile<From>(source, first, col + kTile, halves[1]);
  const unsigned lane = threadIdx.x % 32;
  for (unsigned row = threadIdx.x / 32; row < kTile && first + row < source.rows; row += kWarps) {
    float most = fmaxf(Magnitude(halves[0][row][lane]), Magnitude(halves[1][row][lane]));
    for (int mask = 16; mask > 0; mask /= 2) most = fmaxf(most, gpu::ShuffleXor(most, mask));
    const float scale = FourBitScale(most);
    const bool usable = scale > 0 && scale < INFINITY;
    const int64_t packed = PackedRow(target, first + row);
    const auto box_row = static_cast<int>(packed % kBoxRows);
    auto* box = static_cast<unsigned char*>(target.data) + FourBitBox(packed, col, target.stride);
    if (lane == 0) reinterpret_cast<To*>(box + kFourBitScales)[box_row] = Round<To>(scale);
    if (lane >= 8) continue;
    uint32_t word = 0;
    for (int n = 0; n < 8; ++n) {
      const int c = FourBitColumn(static_cast<int>(lane), static_cast<int>(lane) / 4, n);
      const float x = usable ? halves[c / kTile][row][c % kTile] / scale : 0.0f;
      const auto number = static_cast<int>(rintf(fminf(fmaxf(x, -kMaxInt4), kMaxInt4)));
      word |= static_cast<uint32_t>(number + 8) << 4 * n;
    }
    const int owner = box_row % 8 * 4 + static_cast<int>(lane) % 4;
    auto* words = reinterpret_cast<LaneBytes*>(box + box_row / kBlockRows * kFourBitBlockBytes);
    words[owner].steps[box_row % kBlockRows / 8 * 2 + lane / 4] = word;
  }
}

void QuantizeGroups(const StoredMatrix& source, const PackedRows& target, Stream stream) {
  const gpu::Grid grid = {dim3(static_cast<unsigned>((source.cols + kBlockCols - 1) / kBlockCols),
                               static_cast<unsigned>((source.rows + kTile - 1) / kTile)),
                          kThreads};
  ForDType(source.dtype, [&](auto from) {
    using From = decltype(from);
    const auto kernel = target.dtype == DType::kBFloat16 ? QuantizeGroupsKernel<From, BFloat16>
                                                         : QuantizeGroupsKernel<From, Float16>;
    gpu::Launch(kernel, grid, stream, source, target);
  });
}

}  // namespace

void CopyMatrix(const StoredMatrix& source, const PackedRows& target, Stream stream) {
  const gpu::Grid grid = {dim3(static_cast<unsigned>((source.cols + kTile - 1) / kTile),
                               static_cast<unsigned>((source.rows + kTile - 1) / kTile)),
                          kThreads};
  ForDType(source.dtype, [&](auto from) {
    ForDType(target.dtype, [&](auto to) {
      gpu::Launch(CopyMatrixKernel<decltype(from), decltype(to)>, grid, stream, source, target);
    });
  });
}

void QuantizeMatrix(const StoredMatrix& source, const PackedRows& target, Stream stream) {
  if (target.format == WeightFormat::kInt4) return QuantizeGroups(source, target, stream);
  const gpu::Grid grid = {dim3(static_cast<unsigned>((source.rows + kTile - 1) / kTile)), kThreads};
  ForDType(source.dtype, [&](auto from) {
    using From = decltype(from);
    const auto kernel = target.format == WeightFormat::kFloat8
                            ? QuantizeMatrixKernel<From, WeightFormat::kFloat8>
                        : target.format == WeightFormat::kInt8
                            ? QuantizeMatrixKernel<From, WeightFormat::kInt8>
                            : QuantizeMatrixKernel<From, WeightFormat::kFloat8W8A8>;
    gpu::Launch(kernel, grid, stream, source, target);
  });
}

}  // namespace tessera::cuda
