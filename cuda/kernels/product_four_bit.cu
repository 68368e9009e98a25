// Grouped products of bfloat16 and float16 with 4-bit weights.
#include "cuda/kernels/four_bit.h"
#include "cuda/kernels/product_half_kernel.h"

namespace tessera::cuda {
namespace {

template <typename T>
struct FourBitWeights {
  using Number = T;
  using Task = ProductTask<T, uint8_t>;
  static_assert(kDepth == kBlockCols && kOutTile == kBoxRows);
  struct __align__(16) Tile {
    LaneBytes blocks[kOutTile / kBlockRows][32];
    uint16_t scales[kOutTile / kBlockRows][kBlockRows];
  };
  static_assert(sizeof(Tile) == kFourBitBoxBytes);

  static __device__ __forceinline__ void Load(const Task& task, int expert, int first_out, int k0,
                                              Tile& tile) {
    const int64_t expert_bytes = FourBitBox(RowBoxes(task.out) * kBoxRows, 0, task.stride);
    const uint8_t* from =
        task.weights + expert * expert_bytes + FourBitBox(first_out, k0, task.stride);
    auto* to = reinterpret_cast<unsigned char*>(&tile);
    for (int i = threadIdx.x; i < kFourBitBoxBytes / 16; i += kProductThreads) {
      gpu::CopyAsync16(to + i * 16, from + i * 16, true);
    }
  }

  struct Operand {
    __device__ __forceinline__ explicit Operand(const Tile& tile)
        : lane(tile.blocks[threadIdx.x / 32][threadIdx.x % 32], tile.scales[threadIdx.x / 32],
               static_cast<int>(threadIdx.x) % 32) {}
    __device__ __forceinline__ void Get(int k, uint32_t (&a)[4]) const {
      lane.template Operand<T>(k / 16, a);
    }
    FourBitLane lane;
  };
};

}  // namespace

void RunFourBitProduct(const Product& product, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    LaunchHalfProduct<FourBitWeights<BFloat16>>(product, stream);
  } else {
    LaunchHalfProduct<FourBitWeights<Float16>>(product, stream);
  }
}

}  // namespace tessera::cuda
