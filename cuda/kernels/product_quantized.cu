// Grouped products of bfloat16 and float16 with 8-bit weights.
#include "cuda/kernels/eight_bit.h"
#include "cuda/kernels/product_half_kernel.h"

namespace tessera::cuda {
namespace {

template <typename T, WeightFormat kFormat>
struct QuantizedWeights {
  using Number = T;
  using Task = ProductTask<T, uint8_t>;
  static_assert(kDepth == kBlockCols);
  struct Tile {
    LaneBytes blocks[kOutTile / kBlockRows][2][32];
  };

  static __device__ __forceinline__ void Load(const Task& task, int expert, int first_out, int k0,
                                              Tile& tile) {
    constexpr int kChunks = kBlockBytes / 16;
    const auto row_blocks = static_cast<int>(RowBlocks(task.out));
    const uint8_t* weights = task.weights + int64_t{expert} * row_blocks * kBlockRows * task.stride;
    for (int i = threadIdx.x; i < kOutTile / kBlockRows * kChunks; i += kProductThreads) {
      const int row_block = first_out / kBlockRows + i / kChunks;
      const bool inside = row_block < row_blocks;
      const int64_t block = int64_t{row_block} * (task.stride / kBlockCols) + k0 / kBlockCols;
      const uint8_t* from = inside ? weights + block * kBlockBytes + i % kChunks * 16 : weights;
      gpu::CopyAsync16(&tile.blocks[0][0][0] + i, from, inside);
    }
  }

  struct Operand {
    __device__ __forceinline__ explicit Operand(const Tile& tile)
        : upper(tile.blocks[threadIdx.x / 32][0][threadIdx.x % 32]),
          lower(tile.blocks[threadIdx.x / 32][1][threadIdx.x % 32]) {}
    __device__ __forceinline__ void Get(int k, uint32_t (&a)[4]) const {
      WidenOperand<kFormat, T>(upper, lower, k / 16, a);
    }
    LaneBytes upper, lower;
  };
};

template <typename T>
void Run(const Product& product, Stream stream) {
  if (product.format == WeightFormat::kFloat8) {
    LaunchHalfProduct<QuantizedWeights<T, WeightFormat::kFloat8>>(product, stream);
  } else {
    LaunchHalfProduct<QuantizedWeights<T, WeightFormat::kInt8>>(product, stream);
  }
}

}  // namespace

void RunQuantizedProduct(const Product& product, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    Run<BFloat16>(product, stream);
  } else {
    Run<Float16>(product, stream);
  }
}

}  // namespace tessera::cuda
