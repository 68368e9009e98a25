// Sums of product_hopper_kernel.h for weights that are widened: each warp takes its rows from
// shared memory, widens them and gives them to the tensor cores in registers, those of the next
// stage while this one is multiplied.
#pragma once

#include "cuda/kernels/eight_bit.h"
#include "cuda/kernels/product_hopper_kernel.h"

namespace tessera::cuda {

static_assert(kRowBytes / 2 == kBlockCols && kStageSteps == kBlockSteps);
using Operands = uint32_t[kBlockSteps][4];

// A lane's 16 bytes of a block that begins `begin` bytes, a multiple of 128, into a box, swizzled
// as LoadTile() does: chunk `chunk` of the block.
__device__ __forceinline__ const LaneBytes& SwizzledBytes(const unsigned char* box, int begin,
                                                          int chunk) {
  const int line = begin / kRowBytes + chunk / 8;
  return *reinterpret_cast<const LaneBytes*>(box + line * kRowBytes + (chunk % 8 ^ line % 8) * 16);
}

// Adds one stage to the accumulators; those of the first are overwritten.
template <typename T, int kCount>
__device__ __forceinline__ void MultiplyOperands(const Operands& a, const unsigned char* places,
                                                 bool first, float (&d)[kCount]) {
  const uint64_t b = gpu::MatrixDescriptor(places);
  gpu::FenceMultiply();
#pragma unroll
  for (int i = 0; i < kBlockSteps; ++i) {
    gpu::MultiplyTile<kOperandType<T>>(d, a[i], b + 2 * i, !first || i > 0);
  }
  gpu::CommitMultiply();
}

// Weights::Widen(box, operands) gives the warp's rows of a box.
template <typename Weights, typename S>
__device__ __forceinline__ void SumFromRegisters(int in, int warpgroup, Shared<S>& shared,
                                                 Turn<S::kStages>& turn,
                                                 float (&d)[S::kPlaces / 2]) {
  Operands a, next = {};
  const auto take = [&](Operands& operands) {
    gpu::WaitPhase(&shared.full[turn.stage], turn.parity);
    Weights::Widen(shared.stages[turn.stage] + warpgroup * Weights::kBoxBytes, operands);
  };
  take(a);
  for (int k = 0; k < in; k += S::kStageK) {
    const int stage = turn.stage;
    MultiplyOperands<typename Weights::Number>(a, shared.stages[stage] + S::kWeightBytes, k == 0,
                                               d);
    turn.Advance();
    if (k + S::kStageK < in) take(next);
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

}  // namespace tessera::cuda
