// The Hopper product with 8-bit weights: each warp takes its rows from shared memory, widens them
// and gives them to the tensor cores in registers, those of the next stage while this one is
// multiplied.
#include "cuda/kernels/eight_bit.h"
#include "cuda/kernels/product_hopper_kernel.h"

namespace tessera::cuda {
namespace {

template <typename T, WeightFormat kFormat>
struct QuantizedRows {
  using Number = T;
  static_assert(kStageK == kBlockCols);
  static constexpr int kBoxBytes = kWarpgroupRows / kBlockRows * kBlockBytes;
  using Operands = uint32_t[kBlockSteps][4];

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
    Operands a, next = {};
    const auto take = [&](Operands& operands) {
      gpu::WaitPhase(&shared.full[turn.stage], turn.parity);
      Widen(shared.stages[turn.stage] + warpgroup * kBoxBytes, operands);
    };
    take(a);
    for (int k = 0; k < in; k += kStageK) {
      const int stage = turn.stage;
      Multiply(a, shared.stages[stage] + S::kWeightBytes, k == 0, d);
      turn.Advance();
      if (k + kStageK < in) take(next);
      gpu::WaitMultiply<0>();
      gpu::HoldAccumulators(d);
      gpu::HoldOperands(a);
      gpu::SyncWarp();  // all lanes have read the stage
      Release(&shared.empty[stage]);
#pragma unroll
      for (int i = 0; i < kBlockSteps; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) a[i][j] = next[i][j];
      }
    }
  }

  // The warp's block of a box, swizzled as LoadTile() does.
  static __device__ __forceinline__ void Widen(const unsigned char* box, Operands& operands) {
    const int warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const auto bytes = [&](int chunk) {
      const int line = chunk / 8;
      return *reinterpret_cast<const LaneBytes*>(box + warp * kBlockBytes + line * kRowBytes +
                                                 (chunk % 8 ^ line % 8) * 16);
    };
    const LaneBytes upper = bytes(lane);
    const LaneBytes lower = bytes(32 + lane);
#pragma unroll
    for (int i = 0; i < kBlockSteps; ++i) WidenOperand<kFormat, T>(upper, lower, i, operands[i]);
  }

  // Adds one stage to the accumulators; those of the first are overwritten.
  template <int kCount>
  static __device__ __forceinline__ void Multiply(const Operands& a, const unsigned char* places,
                                                  bool first, float (&d)[kCount]) {
    const uint64_t b = gpu::MatrixDescriptor(places);
    gpu::FenceMultiply();
#pragma unroll
    for (int i = 0; i < kBlockSteps; ++i) {
      gpu::MultiplyTile<kHalfType<T>>(d, a[i], b + 2 * i, !first || i > 0);
    }
    gpu::CommitMultiply();
  }
};

template <typename T>
void Run(const Product& product, const gpu::TensorMap& weights, const HopperTile& tile,
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

void RunHopperQuantizedProduct(const Product& product, const gpu::TensorMap& weights,
                               const HopperTile& tile, int multiprocessors, Stream stream) {
  if (product.x.dtype == DType::kBFloat16) {
    Run<BFloat16>(product, weights, tile, multiprocessors, stream);
  } else {
    Run<Float16>(product, weights, tile, multiprocessors, stream);
  }
}

}  // namespace tessera::cuda
