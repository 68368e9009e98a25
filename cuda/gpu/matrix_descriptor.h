// How wgmma is told where an operand lies in shared memory; the emulator decodes the same bits.
#pragma once

#include <cstdint>

#include "gpu/gpu.h"

namespace tessera::gpu {

// Of rows of 128 bytes (64 elements of K), swizzled as LoadTile() does, groups of eight rows 1024
// bytes apart, the first 1024-byte aligned; adding 2 · i names their elements from 16 · i on. PTX
// ISA, "matrix descriptor": bits 0–13 address / 16; 16–29 leading dimension byte offset / 16, which
// the swizzled K-major layouts do not use; 32–45 stride dimension byte offset / 16; 49–51 base
// offset, 0 for aligned groups; 62–63 swizzle, 1 is that of 128 bytes.
__device__ __forceinline__ uint64_t MatrixDescriptorBits(uint32_t shared_address) {
  constexpr uint64_t kLeading = 1;
  constexpr uint64_t kStride = 1024 / 16;
  constexpr uint64_t kSwizzle128 = 1;
  return (shared_address & 0x3ffff) >> 4 | kLeading << 16 | kStride << 32 | kSwizzle128 << 62;
}

}  // namespace tessera::gpu
