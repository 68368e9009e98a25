// Grouped products of bfloat16 and float16 on tensor cores with mma.sync, for every GPU since
// sm_80. Rows of W are the rows of the instruction and places its columns, so few places waste
// little. Each result is one sum over K in ascending sixteens, whatever the tile.
#include "cuda/kernels/product.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;
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

template <typename T, int kPlaces>
struct Stage {
  T w[kOutTile][kStride];
  T x[kPlaces][kStride];
};

// Rows of x as they come, where they do not begin at multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ void CopyUnaligned(const T* row, int k, int in, T* to) {
#pragma unroll
  for (int j = 0; j < 8; ++j) to[j] = k + j < in ? row[k + j] : Round<T>(0.0f);
}

// Begins the copies of K's columns [k0, k0 + kDepth).
template <typename T, int kPlaces>
__device__ __forceinline__ void LoadStage(const ProductTask<T>& task, const PlaceTile& tile,
                                          const T* weights, int first_out, int k0,
                                          Stage<T, kPlaces>& stage) {
  constexpr int kChunks = kDepth / 8;
  for (int i = threadIdx.x; i < kOutTile * kChunks; i += kThreads) {
    const int r = i / kChunks;
    const int k = k0 + i % kChunks * 8;
    const bool inside = first_out + r < task.out && k < task.stride;
    const T* from = inside ? weights + int64_t{first_out + r} * task.stride + k : weights;
    gpu::CopyAsync16(&stage.w[r][i % kChunks * 8], from, inside);
  }
  const bool aligned = task.in % 8 == 0;
  for (int i = threadIdx.x; i < kPlaces * kChunks; i += kThreads) {
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
template <typename T, int kPlaces>
__device__ __forceinline__ void MultiplyStage(const Stage<T, kPlaces>& stage,
                                              float (&sums)[kPlaces / 8][4]) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t a[4];
    gpu::LoadMatrices(a, &stage.w[16 * warp + lane % 16][k + lane / 16 * 8]);
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
template <typename T, typename Y, int kPlaces>
__device__ __forceinline__ void Store(const ProductTask<T>& task, const PlaceTile& tile,
                                      int first_out, const float (&sums)[kPlaces / 8][4], Y* shared,
                                      Y* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row =
      static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;  // of the tile; and the one 8 below
  const int columns = task.gated ? kOutTile / 2 : kOutTile;
  const int stride = columns + 8;
  const float bias = Bias(task, tile.expert, first_out + row);
  const float bias_below = Bias(task, tile.expert, first_out + row + 8);
#pragma unroll
  for (int n = 0; n < kPlaces / 8; ++n) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      Y* to = shared + (n * 8 + lane % 4 * 2 + j) * stride;
      const float value = Activate(task.activation, sums[n][j] + bias);
      const float below = sums[n][2 + j] + bias_below;
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
  for (int i = threadIdx.x; i < tile.count * columns; i += kThreads) {
    const int place = i / columns;
    const int col = first_col + i % columns;
    if (col < task.cols) {
      y[int64_t{tile.begin + place} * task.cols + col] = shared[place * stride + i % columns];
    }
  }
}

template <typename T, typename Y, int kPlaces>
__global__ void __launch_bounds__(kThreads) HalfProductKernel(ProductTask<T> task, Y* y) {
  gpu::WaitForPrevious();
  const PlaceTile tile =
      FindPlaceTile(task.starts, task.experts, task.places, kPlaces, static_cast<int>(blockIdx.y));
  if (tile.expert < 0) return;  // the whole block
  auto* stages = reinterpret_cast<Stage<T, kPlaces>*>(gpu::SharedMemory());
  const int first_out = static_cast<int>(blockIdx.x) * kOutTile;
  const T* weights = task.weights + int64_t{tile.expert} * task.out * task.stride;
  const int steps = (task.in + kDepth - 1) / kDepth;
  float sums[kPlaces / 8][4] = {};
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) LoadStage(task, tile, weights, first_out, s * kDepth, stages[s]);
    gpu::CommitCopies();
  }
  for (int s = 0; s < steps; ++s) {
    gpu::WaitCopies<kStages - 2>();
    gpu::SyncBlock();  // stage s is there, and stage s - 1 is used up
    const int next = s + kStages - 1;
    if (next < steps) {
      LoadStage(task, tile, weights, first_out, next * kDepth, stages[next % kStages]);
    }
    gpu::CommitCopies();
    MultiplyStage<T, kPlaces>(stages[s % kStages], sums);
  }
  gpu::WaitCopies<0>();
  gpu::SyncBlock();
  Store<T, Y, kPlaces>(task, tile, first_out, sums, reinterpret_cast<Y*>(gpu::SharedMemory()), y);
}

template <typename T, int kPlaces>
void Run(const Product& product, Stream stream) {
  const gpu::Grid grid = ProductGrid(product, kPlaces, kStages * sizeof(Stage<T, kPlaces>));
  if (product.y.dtype == DType::kFloat32) {
    gpu::Launch(HalfProductKernel<T, float, kPlaces>, grid, stream, ProductTask<T>(product),
                product.y.as<float>());
  } else {
    gpu::Launch(HalfProductKernel<T, T, kPlaces>, grid, stream, ProductTask<T>(product),
                product.y.as<T>());
  }
}

template <typename T>
void RunOf(const Product& product, Stream stream) {
  if (product.places <= 16 * product.experts) {
    Run<T, 16>(product, stream);
  } else {
    Run<T, 64>(product, stream);
  }
}

}  // namespace

void RunHalfProduct(const Product& product, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    RunOf<BFloat16>(product, stream);
  } else {
    RunOf<Float16>(product, stream);
  }
}

}  // namespace tessera::cuda
