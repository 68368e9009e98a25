// cuda/gpu/gpu.h on the CPU: the same names with the same meaning, for tests of kernels where there
// is no GPU. Slow, single launches in order, and stricter than a GPU where it can be: asynchronous
// copies arrive only when they are waited for.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "engine/backend/half.h"
#include "engine/base/check.h"
#include "tests/emulated/block.h"
#include "tests/emulated/streams.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local
#define __align__(bytes) __attribute__((aligned(bytes)))
#define threadIdx (::tessera::gpu::emulated::Block::Current().thread().index)
#define blockIdx (::tessera::gpu::emulated::Block::Current().index)
#define blockDim (::tessera::gpu::emulated::Block::Current().size)
#define gridDim (::tessera::gpu::emulated::Block::Current().grid)

struct uint2 {
  uint32_t x, y;
};
struct __attribute__((aligned(16))) uint4 {
  uint32_t x, y, z, w;
};
struct __attribute__((aligned(8))) float2 {
  float x, y;
};
struct __attribute__((aligned(16))) float4 {
  float x, y, z, w;
};

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline int __popc(uint32_t bits) { return std::popcount(bits); }
inline int __ffs(uint32_t bits) { return bits == 0 ? 0 : std::countr_zero(bits) + 1; }
inline int atomicAdd(int* place, int value) {
  return __atomic_fetch_add(place, value, __ATOMIC_RELAXED);
}
inline unsigned long long atomicAdd(unsigned long long* place, unsigned long long value) {
  return __atomic_fetch_add(place, value, __ATOMIC_RELAXED);
}

using std::max;
using std::min;

struct CUstream_st;

namespace tessera::gpu {

using Stream = CUstream_st*;

struct Grid {
  dim3 blocks;
  unsigned threads = 128;
  size_t shared_bytes = 0;
};

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), const Grid& grid, Stream stream,
            Arguments... arguments) {
  emulated::Queue(stream, [=] {
    emulated::RunGrid(grid.blocks, grid.threads, grid.shared_bytes,
                      [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}

inline void WaitForPrevious() {}
inline void LaunchNext() {}
inline void Require(bool condition) { TESSERA_CHECK(condition); }
inline unsigned char* SharedMemory() { return emulated::Block::Current().shared_memory; }

inline uint32_t FloatBits(float value) { return std::bit_cast<uint32_t>(value); }
inline float BitsFloat(uint32_t bits) { return std::bit_cast<float>(bits); }
// BFloat16ToFloat, FloatToBFloat16 and Float16ToFloat are those of engine/backend/half.h.
using ::tessera::BFloat16ToFloat;
using ::tessera::Float16ToFloat;
using ::tessera::FloatToBFloat16;
inline uint16_t FloatToFloat16(float value) {
  return std::bit_cast<uint16_t>(static_cast<_Float16>(value));
}
inline uint32_t PackBFloat16(float low, float high) {
  return FloatToBFloat16(low) | static_cast<uint32_t>(FloatToBFloat16(high)) << 16;
}
inline uint32_t PackFloat16(float low, float high) {
  return FloatToFloat16(low) | static_cast<uint32_t>(FloatToFloat16(high)) << 16;
}
// Rounded twice unless float32 holds the sum.
template <float (*kWiden)(uint16_t), uint16_t (*kRound)(float)>
uint32_t MultiplyAddPairs(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t pair = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const auto half = [shift](uint32_t x) { return kWiden(static_cast<uint16_t>(x >> shift)); };
    pair |= static_cast<uint32_t>(kRound(std::fma(half(a), half(b), half(c)))) << shift;
  }
  return pair;
}
inline uint32_t MultiplyAddBFloat16(uint32_t a, uint32_t b, uint32_t c) {
  return MultiplyAddPairs<BFloat16ToFloat, FloatToBFloat16>(a, b, c);
}
inline uint32_t MultiplyAddFloat16(uint32_t a, uint32_t b, uint32_t c) {
  return MultiplyAddPairs<Float16ToFloat, FloatToFloat16>(a, b, c);
}
inline float Exp2(float x) { return std::exp2(x); }

// --- warps ---
template <typename T>
struct Exchanged {
  T value;
  int lane;
  T result;
};
template <typename T>
T Shuffle(T value, int lane) {
  Exchanged<T> mine = {value, lane, value};
  emulated::Block::Current().MeetWarp(&mine, [](void** all) {
    for (int i = 0; i < emulated::kWarp; ++i) {
      auto* to = static_cast<Exchanged<T>*>(all[i]);
      to->result = static_cast<Exchanged<T>*>(all[to->lane & 31])->value;
    }
  });
  return mine.result;
}
template <typename T>
T ShuffleXor(T value, int mask) {
  return Shuffle(value, static_cast<int>(threadIdx.x % emulated::kWarp) ^ mask);
}
inline uint32_t Ballot(bool predicate) {
  struct Vote {
    bool mine;
    uint32_t result;
  } vote = {predicate, 0};
  emulated::Block::Current().MeetWarp(&vote, [](void** all) {
    uint32_t bits = 0;
    for (int i = 0; i < emulated::kWarp; ++i) {
      bits |= static_cast<uint32_t>(static_cast<Vote*>(all[i])->mine) << i;
    }
    for (int i = 0; i < emulated::kWarp; ++i) static_cast<Vote*>(all[i])->result = bits;
  });
  return vote.result;
}
inline void SyncWarp() {
  emulated::Block::Current().MeetWarp(nullptr, [](void**) {});
}
inline void SyncBlock() { emulated::Block::Current().SyncBlock(); }

// --- asynchronous copies ---
void CopyAsync16(void* shared, const void* global, bool valid);
void CopyAsync4(void* shared, const void* global, bool valid);
void CommitCopies();
void WaitCopiesBut(size_t pending);
template <int kPending>
void WaitCopies() {
  WaitCopiesBut(kPending);
}

// --- tensor cores ---
void LoadMatrices(uint32_t (&registers)[4], const void* row);
void LoadMatricesTransposed(uint32_t (&registers)[4], const void* row);
void MultiplyBFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void MultiplyFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

}  // namespace tessera::gpu
