// Grouped products whose weights are of the activations' type, bfloat16 or float16.
#include "cuda/kernels/product_half_kernel.h"

namespace tessera::cuda {
namespace {

template <typename T>
struct HalfWeights {
  using Number = T;
  using Task = ProductTask<T>;
  struct Tile {
    T rows[kOutTile][kStride];
  };

  static __device__ __forceinline__ void Load(const Task& task, int expert, int first_out, int k0,
                                              Tile& tile) {
    constexpr int kChunks = kDepth / 8;
    const T* weights = task.weights + int64_t{expert} * task.out * task.stride;
    for (int i = threadIdx.x; i < kOutTile * kChunks; i += kProductThreads) {
      const int r = i / kChunks;
      const int k = k0 + i % kChunks * 8;
      const bool inside = first_out + r < task.out && k < task.stride;
      const T* from = inside ? weights + int64_t{first_out + r} * task.stride + k : weights;
      gpu::CopyAsync16(&tile.rows[r][i % kChunks * 8], from, inside);
    }
  }

  struct Operand {
    __device__ __forceinline__ explicit Operand(const Tile& tile) : tile(tile) {}
    __device__ __forceinline__ void Get(int k, uint32_t (&a)[4]) const {
      const int warp = static_cast<int>(threadIdx.x) / 32;
      const int lane = static_cast<int>(threadIdx.x) % 32;
      gpu::LoadMatrices(a, &tile.rows[16 * warp + lane % 16][k + lane / 16 * 8]);
    }
    const Tile& tile;
  };
};

}  // namespace

void RunHalfProduct(const Product& product, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    LaunchHalfProduct<HalfWeights<BFloat16>>(product, stream);
  } else {
    LaunchHalfProduct<HalfWeights<Float16>>(product, stream);
  }
}

}  // namespace tessera::cuda
