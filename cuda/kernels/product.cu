// Grouped products in float32 on CUDA cores.
#include "cuda/kernels/product.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPlaceTile = 32;
constexpr int kDepth = 32;  // of K in one stage
constexpr int kOutsPerThread = 8;
constexpr int kPlacesPerThread = 2;

struct Stage {
  float w[kOutTile][kDepth + 1];
  float x[kPlaceTile][kDepth + 1];
};

__device__ __forceinline__ void LoadStage(const ProductTask<float>& task, const PlaceTile& tile,
                                          const float* weights, int first_out, int k0,
                                          Stage& stage) {
  for (int i = threadIdx.x; i < kOutTile * kDepth; i += kThreads) {
    const int r = i / kDepth;
    const int k = k0 + i % kDepth;
    const bool inside = first_out + r < task.out && k < task.in;
    stage.w[r][i % kDepth] = inside ? weights[int64_t{first_out + r} * task.stride + k] : 0.0f;
  }
  for (int i = threadIdx.x; i < kPlaceTile * kDepth; i += kThreads) {
    const int r = i / kDepth;
    const int k = k0 + i % kDepth;
    const bool inside = r < tile.count && k < task.in;
    stage.x[r][i % kDepth] = inside ? task.x[RowOf(task, tile.begin + r) * task.in + k] : 0.0f;
  }
}

// Thread t has rows t % 8 + 8 i of the tile, so a gate and what it gates, and places t / 8 + 16 j.
__device__ __forceinline__ void Store(const ProductTask<float>& task, const PlaceTile& tile,
                                      int first_out,
                                      const float (&sums)[kOutsPerThread][kPlacesPerThread],
                                      float* y) {
  const int first = first_out + static_cast<int>(threadIdx.x) % 8;
#pragma unroll
  for (int j = 0; j < kPlacesPerThread; ++j) {
    const int place = static_cast<int>(threadIdx.x) / 8 + 16 * j;
    if (place >= tile.count) continue;
    float* to = y + int64_t{tile.begin + place} * task.cols;
#pragma unroll
    for (int i = 0; i < kOutsPerThread; ++i) {
      const int row = first + 8 * i;
      const float value = sums[i][j] + Bias(task, tile.expert, row);
      if (!task.gated) {
        if (row < task.out) to[row] = Activate(task.activation, value);
      } else if (i % 2 == 0) {
        const float up = sums[i + 1][j] + Bias(task, tile.expert, row + 8);
        const int col = row / 16 * 8 + row % 8;
        if (row < task.out && col < task.cols) to[col] = Activate(task.activation, value) * up;
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    Float32ProductKernel(ProductTask<float> task, float* y) {
  gpu::WaitForPrevious();
  const PlaceTile tile = FindPlaceTile(task.starts, task.experts, task.places, kPlaceTile,
                                       static_cast<int>(blockIdx.y));
  if (tile.expert < 0) return;  // the whole block
  __shared__ Stage stage;
  const int first_out = static_cast<int>(blockIdx.x) * kOutTile;
  const float* weights = task.weights + int64_t{tile.expert} * task.out * task.stride;
  float sums[kOutsPerThread][kPlacesPerThread] = {};
  for (int k0 = 0; k0 < task.in; k0 += kDepth) {
    LoadStage(task, tile, weights, first_out, k0, stage);
    gpu::SyncBlock();
    // Each stage is summed by itself: errors grow with the stages, not with every product.
    float part[kOutsPerThread][kPlacesPerThread] = {};
#pragma unroll 4
    for (int k = 0; k < kDepth; ++k) {
#pragma unroll
      for (int i = 0; i < kOutsPerThread; ++i) {
#pragma unroll
        for (int j = 0; j < kPlacesPerThread; ++j) {
          part[i][j] = fmaf(stage.w[threadIdx.x % 8 + 8 * i][k],
                            stage.x[threadIdx.x / 8 + 16 * j][k], part[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kOutsPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < kPlacesPerThread; ++j) sums[i][j] += part[i][j];
    }
    gpu::SyncBlock();
  }
  Store(task, tile, first_out, sums, y);
}

}  // namespace

void RunFloat32Product(const Product& product, Stream stream) {
  gpu::Launch(Float32ProductKernel, ProductGrid(product, kPlaceTile, 0), stream,
              ProductTask<float>(product), product.y.as<float>());
}

void RunProduct(const Product& product, Stream stream) {
  if (product.x.dtype == DType::kFloat32) {
    RunFloat32Product(product, stream);
  } else if (product.format == WeightFormat::kInt4) {
    RunFourBitProduct(product, stream);
  } else if (product.format != WeightFormat::kActivations) {
    RunQuantizedProduct(product, stream);
  } else {
    RunHalfProduct(product, stream);
  }
}

}  // namespace tessera::cuda
