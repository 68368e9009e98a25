// What a block of the emulator keeps for the instructions of gpu/hopper.h.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "gpu/runtime.h"
#include "tests/emulated/block.h"

namespace tessera::gpu {
struct Barrier;
enum class OperandType;
}  // namespace tessera::gpu

namespace tessera::gpu::emulated {

constexpr int kWarpgroup = 128;
constexpr size_t kCopyBytes = 16;

// Where the 128-byte swizzle puts what lies at an address of shared memory without it: bits 4–6 ^=
// bits 7–9.
constexpr size_t Swizzled(size_t address) { return address ^ (address >> 7 & 7) << 4; }

// A box that the copy engine has yet to bring: it lands when a thread waits for its barrier.
struct BoxLoad {
  unsigned char* shared;
  TensorBoxes boxes;
  std::array<int, 3> first;
  Barrier* barrier;
};

// d [64, columns] (+)= a · bᵀ of a warpgroup, as one thread sees it.
struct Multiplication {
  float* d;
  int columns;
  const uint32_t* registers;             // of a, null where `a` is its descriptor
  std::array<uint32_t, 4> as_they_were;  // … when the product began
  uint64_t a, b;
  bool add;
  OperandType type;
};

// The products of one thread. From the first product on, d itself holds NaNs and `sums` the values,
// until no product is under way.
struct Multiplier {
  std::vector<Multiplication> open;
  std::deque<std::vector<Multiplication>> groups;
  std::map<float*, std::vector<float>> sums;
  bool fenced = false;
};

struct Hopper {
  explicit Hopper(const Block& block);

  static Hopper& Current();

  // Copies of threads to shared memory, in pieces of kCopyBytes: hidden from the async proxy until
  // they arrived and the same thread has fenced.
  void CopyStarted(const void* shared);
  void CopyArrived(const void* shared);
  void Fence();
  // Bytes of shared memory as the async proxy sees them; ends the process where it does not.
  const unsigned char* Read(size_t address) const;

  unsigned char* memory;
  std::vector<uint8_t> hidden;
  std::vector<std::vector<size_t>> arrived;  // of each thread: pieces to be fenced
  std::vector<BoxLoad> loads;
  bool barriers_fenced = true;
  std::array<Meeting, 16> named;
  std::vector<Meeting> warpgroups;
  std::vector<Multiplier> multipliers;
};

}  // namespace tessera::gpu::emulated
