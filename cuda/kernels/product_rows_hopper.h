// What product_hopper_kernel.h needs of weights that lie as rows [experts, out, stride], multiplied
// as they are: both operands come from shared memory.
#pragma once

#include "cuda/kernels/product_hopper_kernel.h"

namespace tessera::cuda {

// T of the activations, O of the operands.
template <typename T, typename O>
struct PlainRows {
  using Number = T;
  using Operand = O;
  static constexpr int kBoxBytes = kWarpgroupRows * kRowBytes;
  static constexpr int kFetchedBytes = kBoxBytes;

  // The engine counts 16-bit elements.
  static __device__ __forceinline__ void Fetch(const gpu::TensorMap& map, gpu::Barrier* full,
                                               const HopperTask&, int expert, int first_row, int k,
                                               unsigned char* box) {
    gpu::LoadTile(box, map, full, k * static_cast<int>(sizeof(O)) / 2, first_row, expert);
  }

  // d = the sum over columns [begin, end) of K, whole stages but for the last.
  template <typename S>
  static __device__ __forceinline__ void SumStages(int begin, int end, int warpgroup,
                                                   Shared<S>& shared, Turn<S::kStages>& turn,
                                                   float (&d)[S::kPlaces / 2]) {
    int before = 0;  // the stage of the products under way
    for (int k = begin; k < end; k += S::kStageK) {
      const unsigned char* stage = shared.stages[turn.stage];
      gpu::WaitPhase(&shared.full[turn.stage], turn.parity);
      MultiplyStage(stage + warpgroup * kBoxBytes, stage + S::kWeightBytes, k == begin, d);
      gpu::WaitMultiply<1>();
      if (k > begin) Release(&shared.empty[before]);
      before = turn.stage;
      turn.Advance();
    }
    gpu::WaitMultiply<0>();
    gpu::HoldAccumulators(d);
    Release(&shared.empty[before]);
  }

 private:
  // Adds one stage to the accumulators; those of the first are overwritten.
  template <int kCount>
  static __device__ __forceinline__ void MultiplyStage(const unsigned char* weights,
                                                       const unsigned char* places, bool first,
                                                       float (&d)[kCount]) {
    const uint64_t a = gpu::MatrixDescriptor(weights);
    const uint64_t b = gpu::MatrixDescriptor(places);
    gpu::FenceMultiply();
#pragma unroll
    for (int i = 0; i < kStageSteps; ++i) {
      gpu::MultiplyTile<kOperandType<O>>(d, a + 2 * i, b + 2 * i, !first || i > 0);
    }
    gpu::CommitMultiply();
  }
};

}  // namespace tessera::cuda
