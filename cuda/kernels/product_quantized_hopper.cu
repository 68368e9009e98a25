// The Hopper product with 8-bit weights.
#include "cuda/kernels/eight_bit.h"
#include "cuda/kernels/product_registers_hopper.h"

namespace tessera::cuda {
namespace {

template <typename T, WeightFormat kOf>
struct QuantizedRows {
  using Number = T;
  using Operand = T;
  static constexpr WeightFormat kFormat = kOf;
  static constexpr int kBoxBytes = kWarpgroupRows / kBlockRows * kBlockBytes;
  static constexpr int kFetchedBytes = kBoxBytes;

  static __device__ __forceinline__ void Fetch(const gpu::TensorMap& map, gpu::Barrier* full,
                                               const HopperTask& task, int expert, int first_row,
                                               int k, unsigned char* box) {
    const auto row_block =
        static_cast<int>(expert * RowBlocks(task.output.out) + first_row / kBlockRows);
    gpu::LoadTile(box, map, full, 0, k / kBlockCols * (kBlockBytes / kRowBytes), row_block);
  }

  template <typename S>
  static __device__ __forceinline__ void Sum(int in, int warpgroup, Shared<S>& shared,
                                             Turn<S::kStages>& turn, float (&d)[S::kPlaces / 2]) {
    SumFromRegisters<QuantizedRows>(in, warpgroup, shared, turn, d);
  }

  static __device__ __forceinline__ void Widen(const unsigned char* box, Operands& operands) {
    const int block = static_cast<int>(threadIdx.x) % kWarpgroup / 32 * kBlockBytes;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const LaneBytes upper = SwizzledBytes(box, block, lane);
    const LaneBytes lower = SwizzledBytes(box, block, 32 + lane);
#pragma unroll
    for (int i = 0; i < kBlockSteps; ++i) WidenOperand<kFormat, T>(upper, lower, i, operands[i]);
  }
};

template <typename T>
void Run(const Product& product, const HopperMaps& weights, const HopperTile& tile,
         int multiprocessors, Stream stream) {
  if (product.format == WeightFormat::kFloat8) {
    LaunchHopperProduct<QuantizedRows<T, WeightFormat::kFloat8>>(product, weights, tile,
                                                                 multiprocessors, stream);
  } else {
    LaunchHopperProduct<QuantizedRows<T, WeightFormat::kInt8>>(product, weights, tile,
                                                               multiprocessors, stream);
  }
}

}  // namespace

void RunHopperQuantizedProduct(const Product& product, const HopperMaps& weights,
                               const HopperTile& tile, int multiprocessors, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    Run<BFloat16>(product, weights, tile, multiprocessors, stream);
  } else {
    Run<Float16>(product, weights, tile, multiprocessors, stream);
  }
}

}  // namespace tessera::cuda
