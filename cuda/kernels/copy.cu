// Weights on their way from a checkpoint into the layout of the kernels: conversion, transposition,
// interleaving.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"

namespace tessera::cuda {
namespace {

constexpr unsigned kTile = 32;  // rows and columns of a block
constexpr unsigned kThreads = 256;

template <typename From, typename To>
__global__ void CopyMatrixKernel(StoredMatrix source, PackedRows target) {
  gpu::WaitForPrevious();
  // By way of shared memory, so that both sides are read and written along their rows.
  __shared__ To tile[kTile][kTile + 1];
  const bool transposed = source.column_stride != 1;
  const int64_t row = int64_t{blockIdx.y} * kTile;
  const int64_t col = int64_t{blockIdx.x} * kTile;
  const auto* from = static_cast<const From*>(source.data);
  auto* to = static_cast<To*>(target.data);
  for (unsigned i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const unsigned r = transposed ? i % kTile : i / kTile;
    const unsigned c = transposed ? i / kTile : i % kTile;
    if (row + r >= source.rows || col + c >= source.cols) continue;
    tile[r][c] =
        Round<To>(ToFloat(from[(row + r) * source.row_stride + (col + c) * source.column_stride]));
  }
  gpu::SyncBlock();
  for (unsigned i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int64_t r = row + i / kTile;
    const int64_t c = col + i % kTile;
    if (r >= source.rows || c >= source.cols) continue;
    const int64_t packed = target.first_row + r;
    const int64_t place =
        target.gated_half < 0 ? packed : packed / 8 * 16 + 8 * target.gated_half + packed % 8;
    to[place * target.stride + target.first_col + c] = tile[i / kTile][i % kTile];
  }
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

}  // namespace tessera::cuda
