// What kernels need of a GPU beyond CUDA C++ itself: launches, and the instructions that have no
// name in it. Kernels include this header as "gpu/gpu.h" and nothing else of CUDA's;
// tests/emulated/gpu/gpu.h gives the same names on the CPU, so that every kernel is tested where
// there is no GPU.
//
// Launches are programmatic (CUDA programming guide, "programmatic dependent launch"): a kernel may
// begin while the one before it ends, so each calls WaitForPrevious() before it reads or writes
// memory that another kernel touches.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace tessera::gpu {

using Stream = cudaStream_t;

struct Grid {
  dim3 blocks;
  unsigned threads = 128;
  size_t shared_bytes = 0;  // of SharedMemory()
};

// Ends the process with CUDA's words: a launch fails only for a bug or a broken device.
inline void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

// Whether the current device, which stays the same, can begin a launch while the one before it
// ends.
inline bool LaunchesOverlap() {
  static const bool overlap = [] {
    int device = 0;
    int major = 0;
    Check(cudaGetDevice(&device), "device");
    Check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device");
    return major >= 9;
  }();
  return overlap;
}

// Runs kernel(arguments…) after all that was launched before on the stream. An empty grid does
// nothing.
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), const Grid& grid, Stream stream,
            Arguments... arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  if (grid.shared_bytes > 48 * 1024) {
    Check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(grid.shared_bytes)),
          "shared memory of a kernel");
  }
  cudaLaunchAttribute programmatic = {};
  programmatic.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  programmatic.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  config.attrs = &programmatic;
  config.numAttrs = LaunchesOverlap() ? 1 : 0;
  Check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launch");
}

__device__ __forceinline__ void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the next kernel begin its blocks; it still waits for the end of this one.
__device__ __forceinline__ void LaunchNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// For broken invariants: ends the kernel, and with it the process at the next Synchronize().
__device__ __forceinline__ void Require(bool condition) {
  if (!condition) __trap();
}

// The block's dynamic shared memory, 1024-byte aligned.
__device__ __forceinline__ unsigned char* SharedMemory() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return memory;
}

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- numbers: bits of float32, bfloat16 and IEEE float16 ---
__device__ __forceinline__ uint32_t FloatBits(float value) { return __float_as_uint(value); }
__device__ __forceinline__ float BitsFloat(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ float BFloat16ToFloat(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ __forceinline__ uint16_t FloatToBFloat16(float value) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
__device__ __forceinline__ float Float16ToFloat(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ __forceinline__ uint16_t FloatToFloat16(float value) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
// a · b + c of two numbers in one register each, rounded once; subnormal numbers are kept.
__device__ __forceinline__ uint32_t MultiplyAddBFloat16(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
__device__ __forceinline__ uint32_t MultiplyAddFloat16(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
// Two numbers in one register, `low` in the lower half.
__device__ __forceinline__ uint32_t PackBFloat16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ uint32_t PackFloat16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
// 2^x to about 2^-22; exactly 1 of 0, exactly 0 of -∞.
__device__ __forceinline__ float Exp2(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

// --- warps; all 32 lanes call ---
template <typename T>
__device__ __forceinline__ T Shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <typename T>
__device__ __forceinline__ T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
__device__ __forceinline__ uint32_t Ballot(bool predicate) {
  return __ballot_sync(0xffffffffu, predicate);
}
__device__ __forceinline__ void SyncWarp() { __syncwarp(); }
__device__ __forceinline__ void SyncBlock() { __syncthreads(); }

// --- copies to shared memory that run beside the threads (sm_80) ---
// 16 bytes, both ends aligned to 16; zeros where not `valid` (nothing is read then).
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}
// 4 bytes, the same.
__device__ __forceinline__ void CopyAsync4(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}
// Ends a group of this thread's copies.
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most kPending of this thread's groups are under way; other threads' need a
// SyncBlock() more.
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// --- tensor cores (PTX ISA, "matrix fragments for mma.m16n8k16") ---
// Four 8×8 matrices of 16-bit elements: lane 8 i + r gives the address of row r of matrix i;
// afterwards registers[i] of lane l holds row l / 4, columns 2 (l % 4) and the next, of matrix i;
// transposed: of its transpose.
__device__ __forceinline__ void LoadMatrices(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(SharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// d [16, 8] += a [16, 16] · b [16, 8] of a warp. Lane l = 4 g + t: d rows g, g, g + 8, g + 8,
// columns 2t, 2t + 1, 2t, 2t + 1; a[0] row g, columns 2t, 2t + 1; a[1] row g + 8; a[2] row g,
// columns + 8; a[3] both; b[0] rows 2t, 2t + 1 of column g; b[1] rows + 8.
__device__ __forceinline__ void MultiplyBFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void MultiplyFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
      "%9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace tessera::gpu
