// cuda/gpu/hopper.h, wgmma.h and wgmma_registers.h on the CPU: the same names with the same
// meaning, but everything asynchronous happens as late as it may: boxes land when their barrier is
// waited for, products read their operands and write their results at WaitMultiply(), and in
// between results are NaNs.
#pragma once

#include "gpu/gpu.h"
#include "gpu/runtime.h"

namespace tessera::gpu {

uint32_t SharedAddress(const void* pointer);

// --- barriers in shared memory ---
struct Barrier {
  uint64_t state;
};
void InitBarrier(Barrier* barrier, unsigned arrivals);
void FenceBarrierInit();
void Arrive(Barrier* barrier);
void ArriveExpecting(Barrier* barrier, unsigned bytes);
void WaitPhase(Barrier* barrier, unsigned parity);

// --- the copy engine ---
void LoadTile(void* shared, const TensorMap& map, Barrier* barrier, int c0, int c1, int c2);
void FenceAsyncProxy();

// --- warpgroups ---
void SyncThreads(int barrier, int threads);
template <int kRegisters>
void ReleaseRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <int kRegisters>
void ClaimRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}

// --- products ---
enum class OperandType { kBFloat16, kFloat16, kFloat8 };

uint64_t MatrixDescriptor(const void* shared);
void FenceMultiply();
void CommitMultiply();
void WaitMultiplyBut(size_t pending);
template <int kPending>
void WaitMultiply() {
  WaitMultiplyBut(kPending);
}
template <int kCount>
void HoldAccumulators(float (&)[kCount]) {}
template <int kCount>
void HoldOperands(uint32_t (&)[kCount][4]) {}

// `a`: the thread's four registers, or null where `descriptor` says where the operand lies.
void StartMultiply(float* d, int columns, const uint32_t* a, uint64_t descriptor, uint64_t b,
                   bool add, OperandType type);
template <OperandType kType, int kCount>
void MultiplyTile(float (&d)[kCount], uint64_t a, uint64_t b, bool add) {
  StartMultiply(d, 2 * kCount, nullptr, a, b, add, kType);
}
template <OperandType kType, int kCount>
void MultiplyTile(float (&d)[kCount], const uint32_t (&a)[4], uint64_t b, bool add) {
  static_assert(kType != OperandType::kFloat8, "not emulated");
  StartMultiply(d, 2 * kCount, a, 0, b, add, kType);
}

}  // namespace tessera::gpu
