// The Hopper product with 4-bit weights.
#include "cuda/kernels/four_bit.h"
#include "cuda/kernels/product_registers_hopper.h"

namespace tessera::cuda {
namespace {

// A box is 17 lines of 128 bytes, the last one of scales.
template <typename T>
struct FourBitRows {
  using Number = T;
  using Operand = T;
  static constexpr WeightFormat kFormat = WeightFormat::kInt4;
  static constexpr int kFetchedBytes = kFourBitBoxBytes;
  static constexpr int kBoxBytes = (kFetchedBytes + 1023) / 1024 * 1024;
  static constexpr int kLines = kFetchedBytes / kRowBytes;

  static __device__ __forceinline__ void Fetch(const gpu::TensorMap& map, gpu::Barrier* full,
                                               const HopperTask& task, int expert, int first_row,
                                               int k, unsigned char* box) {
    const auto row_box =
        static_cast<int>(expert * RowBoxes(task.output.out) + first_row / kBoxRows);
    gpu::LoadTile(box, map, full, 0, k / kBlockCols * kLines, row_box);
  }

  template <typename S>
  static __device__ __forceinline__ void Sum(int in, int warpgroup, Shared<S>& shared,
                                             Turn<S::kStages>& turn, float (&d)[S::kPlaces / 2]) {
    SumFromRegisters<FourBitRows>(in, warpgroup, shared, turn, d);
  }

  static __device__ __forceinline__ void Widen(const unsigned char* box, Operands& operands) {
    const int warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const auto* scales = reinterpret_cast<const uint16_t*>(box + kFourBitScales);
    const FourBitLane words(SwizzledBytes(box, warp * kFourBitBlockBytes, lane),
                            scales + warp * kBlockRows, lane);
#pragma unroll
    for (int i = 0; i < kBlockSteps; ++i) words.template Operand<T>(i, operands[i]);
  }
};

}  // namespace

void RunHopperFourBitProduct(const Product& product, const HopperMaps& weights,
                             const HopperTile& tile, int multiprocessors, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    LaunchHopperProduct<FourBitRows<BFloat16>>(product, weights, tile, multiprocessors, stream);
  } else {
    LaunchHopperProduct<FourBitRows<Float16>>(product, weights, tile, multiprocessors, stream);
  }
}

}  // namespace tessera::cuda
