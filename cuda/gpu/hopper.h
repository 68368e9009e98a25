// What Hopper (sm_90a) has beyond gpu.h: barriers in shared memory, the copy engine (TMA),
// warpgroups that multiply (wgmma.h, wgmma_registers.h), and fences between the proxies through
// which each of them sees memory. Only files compiled for compute_90a alone include it;
// tests/emulated/gpu/hopper.h gives the same names on the CPU.
#pragma once

#include "gpu/gpu.h"
#include "gpu/runtime.h"
#include "gpu/wgmma.h"
#include "gpu/wgmma_registers.h"

namespace tessera::gpu {

// --- barriers in shared memory (PTX ISA, "mbarrier") ---
// A phase ends when all its arrivals came and all bytes it was told to expect landed; phases are
// numbered from 0 and the parity is that of the number.
struct Barrier {
  uint64_t state;
};

__device__ __forceinline__ void InitBarrier(Barrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals)
               : "memory");
}
// After InitBarrier(), by the same thread: the copy engine sees the barriers. Other threads need a
// SyncBlock() more.
__device__ __forceinline__ void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void Arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
}
// Arrives, and lets the phase wait for `bytes` of LoadTile() more.
__device__ __forceinline__ void ArriveExpecting(Barrier* barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
}
// Waits for the end of the phase of that parity: of the current one, or where its parity is the
// other, of the one before it, which has ended (so a wait for parity 1 on a new barrier returns at
// once).
__device__ __forceinline__ void WaitPhase(Barrier* barrier, unsigned parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.b32 %0, 1, 0, done;\n"
        "}"
        : "=r"(done)
        : "r"(SharedAddress(barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
}

// --- the copy engine (PTX ISA, "cp.async.bulk.tensor") ---
// Loads the box of `map` whose first element is at (c0, c1, c2), innermost first, to `shared`,
// 1024-byte aligned; zeros outside of the tensor. Rows of 128 bytes, the 16-byte chunk c of row r
// at chunk c ^ r % 8. One thread calls; the whole box counts on the barrier.
__device__ __forceinline__ void LoadTile(void* shared, const TensorMap& map, Barrier* barrier,
                                         int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(SharedAddress(shared)),
      "l"(&map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

// What this thread wrote to shared memory so far (its copies after they were waited for) is seen by
// the copy engine and the tensor cores once the threads have met.
__device__ __forceinline__ void FenceAsyncProxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- warpgroups: four warps, the first a multiple of four; all their threads call ---
// Meets `threads` threads, whole warps, at one of the block's barriers 1 … 15.
__device__ __forceinline__ void SyncThreads(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// Registers of each thread of the warpgroup from here on: multiples of 8, 24 … 256. Claims wait
// until others have released.
template <int kRegisters>
__device__ __forceinline__ void ReleaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void ClaimRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace tessera::gpu
