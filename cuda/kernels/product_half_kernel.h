// The kernel of grouped products of bfloat16 and float16 on tensor cores with mma.sync, for every
// GPU since sm_80. Rows of W are the rows of the instruction and places its columns, so few places
// waste little. Each result is one sum over K in ascending sixteens, whatever the tile.
//
// How W is stored is a class Weights of
//   Number, the type of x and of the tensor cores' operands, and Task, a ProductTask;
//   Tile, kOutTile rows and kDepth columns of W in shared memory;
//   Load(task, expert, first_out, k0, tile): begins the copies of a tile, zeros beyond W;
//   Operand(tile): what the warp multiplies, its 16 rows; Get(k, a) gives columns [k, k + 16).
#pragma once

#include "cuda/kernels/product.h"

namespace tessera::cuda {

constexpr int kProductThreads = 128;
constexpr int kDepth = 64;  // of K in one stage
constexpr int kStages = 3;
constexpr int kStride =
    kDepth + 8;  // of shared rows in elements: eight rows of 16 bytes meet no bank twice

__device__ __forceinline__ void Multiply(BFloat16, float (&d)[4], const uint32_t (&a)[4],
                                         uint32_t b0, uint32_t b1) {
  gpu::MultiplyBFloat16(d, a, b0, b1);
}
__device__ __forceinline__ void Multiply(Float16, float (&d)[4], const uint32_t (&a)[4],
                                         uint32_t b0, uint32_t b1) {
  gpu::MultiplyFloat16(d, a, b0, b1);
}

template <typename Weights, int kPlaces>
struct Stage {
  typename Weights::Tile w;
  typename Weights::Number x[kPlaces][kStride];
};

// Rows of x as they come, where they do not begin at multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ void CopyUnaligned(const T* row, int k, int in, T* to) {
#pragma unroll
  for (int j = 0; j < 8; ++j) to[j] = k + j < in ? row[k + j] : Round<T>(0.0f);
}

// Begins the copies of K's columns [k0, k0 + kDepth).
template <typename Weights, int kPlaces>
__device__ __forceinline__ void LoadStage(const typename Weights::Task& task, const PlaceTile& tile,
                                          int first_out, int k0, Stage<Weights, kPlaces>& stage) {
  using T = typename Weights::Number;
  Weights::Load(task, tile.expert, first_out, k0, stage.w);
  constexpr int kChunks = kDepth / 8;
  const bool aligned = task.in % 8 == 0;
  for (int i = threadIdx.x; i < kPlaces * kChunks; i += kProductThreads) {
    const int r = i / kChunks;
    const int k = k0 + i % kChunks * 8;
    T* to = &stage.x[r][i % kChunks * 8];
    const bool inside = r < tile.count && k < task.in;
    const T* row = inside ? task.x + RowOf(task, tile.begin + r) * task.in : task.x;
    if (aligned) {
      gpu::CopyAsync16(to, inside ? row + k : task.x, inside);
    } else {
      CopyUnaligned(row, k, inside ? task.in : 0, to);
    }
  }
}

// Warp w sums rows [16 w, 16 w + 16) of the tile for all places.
template <typename Weights, int kPlaces>
__device__ __forceinline__ void MultiplyStage(const Stage<Weights, kPlaces>& stage,
                                              float (&sums)[kPlaces / 8][4]) {
  using T = typename Weights::Number;
  const typename Weights::Operand operand(stage.w);
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t a[4];
    operand.Get(k, a);
#pragma unroll
    for (int n = 0; n < kPlaces; n += 16) {
      uint32_t b[4];
      gpu::LoadMatrices(b, &stage.x[n + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
      Multiply(T(), sums[n / 8], a, b[0], b[1]);
      Multiply(T(), sums[n / 8 + 1], a, b[2], b[3]);
    }
  }
}

// Sums → y by way of shared memory [kPlaces, columns], so that neighbouring threads store
// neighbouring columns.
template <typename Task, typename Y, int kPlaces>
__device__ __forceinline__ void Store(const Task& task, const PlaceTile& tile, int first_out,
                                      const float (&sums)[kPlaces / 8][4], Y* shared, Y* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row =
      static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;  // of the tile; and the one 8 below
  const int columns = task.gated ? kOutTile / 2 : kOutTile;
  const int stride = columns + 8;
  const float scale = Scale(task, tile.expert, first_out + row);
  const float scale_below = Scale(task, tile.expert, first_out + row + 8);
  const float bias = Bias(task, tile.expert, first_out + row);
  const float bias_below = Bias(task, tile.expert, first_out + row + 8);
#pragma unroll
  for (int n = 0; n < kPlaces / 8; ++n) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      Y* to = shared + (n * 8 + lane % 4 * 2 + j) * stride;
      const float value = Activate(task.activation, fmaf(sums[n][j], scale, bias));
      const float below = fmaf(sums[n][2 + j], scale_below, bias_below);
      if (task.gated) {
        to[row / 16 * 8 + row % 8] = Round<Y>(value * below);
      } else {
        to[row] = Round<Y>(value);
        to[row + 8] = Round<Y>(Activate(task.activation, below));
      }
    }
  }
  gpu::SyncBlock();
  const int first_col = task.gated ? first_out / 2 : first_out;
  for (int i = threadIdx.x; i < tile.count * columns; i += kProductThreads) {
    const int place = i / columns;
    const int col = first_col + i % columns;
    if (col < task.cols) {
      y[int64_t{tile.begin + place} * task.cols + col] = shared[place * stride + i % columns];
    }
  }
}

template <typename Weights, typename Y, int kPlaces>
__global__ void __launch_bounds__(kProductThreads)
    HalfProductKernel(typename Weights::Task task, Y* y) {
  gpu::WaitForPrevious();
  const PlaceTile tile =
      FindPlaceTile(task.starts, task.experts, task.places, kPlaces, static_cast<int>(blockIdx.y));
  if (tile.expert < 0) return;  // the whole block
  auto* stages = reinterpret_cast<Stage<Weights, kPlaces>*>(gpu::SharedMemory());
  const int first_out = static_cast<int>(blockIdx.x) * kOutTile;
  const int steps = (task.in + kDepth - 1) / kDepth;
  float sums[kPlaces / 8][4] = {};
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) LoadStage(task, tile, first_out, s * kDepth, stages[s]);
    gpu::CommitCopies();
  }
  for (int s = 0; s < steps; ++s) {
    gpu::WaitCopies<kStages - 2>();
    gpu::SyncBlock();  // stage s is there, and stage s - 1 is used up
    const int next = s + kStages - 1;
    if (next < steps) LoadStage(task, tile, first_out, next * kDepth, stages[next % kStages]);
    gpu::CommitCopies();
    MultiplyStage(stages[s % kStages], sums);
  }
  gpu::WaitCopies<0>();
  gpu::SyncBlock();
  Store<typename Weights::Task, Y, kPlaces>(task, tile, first_out, sums,
                                            reinterpret_cast<Y*>(gpu::SharedMemory()), y);
}

template <typename Weights, int kPlaces>
void LaunchHalfProduct(const Product& product, Stream stream) {
  using T = typename Weights::Number;
  const typename Weights::Task task(product);
  const gpu::Grid grid = ProductGrid(product, kPlaces, kStages * sizeof(Stage<Weights, kPlaces>));
  if (product.y.dtype == DType::kFloat32) {
    gpu::Launch(HalfProductKernel<Weights, float, kPlaces>, grid, stream, task,
                product.y.as<float>());
  } else {
    gpu::Launch(HalfProductKernel<Weights, T, kPlaces>, grid, stream, task, product.y.as<T>());
  }
}

template <typename Weights>
void LaunchHalfProduct(const Product& product, Stream stream) {
  if (product.places <= 16 * product.experts) {
    LaunchHalfProduct<Weights, 16>(product, stream);
  } else {
    LaunchHalfProduct<Weights, 64>(product, stream);
  }
}

}  // namespace tessera::cuda
