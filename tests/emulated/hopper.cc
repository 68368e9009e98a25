// Barriers, the copy engine and the proxies of gpu/hopper.h.
#include "tests/emulated/hopper.h"

#include <cstring>

#include "engine/base/check.h"
#include "gpu/hopper.h"

namespace tessera::gpu {
namespace emulated {

Hopper::Hopper(const Block& block)
    : memory(block.shared_memory),
      hidden(kMaxSharedBytes / kCopyBytes),
      arrived(block.size.x),
      warpgroups(block.size.x / kWarpgroup),
      multipliers(block.size.x) {}

Hopper& Hopper::Current() {
  Block& block = Block::Current();
  TESSERA_CHECK_MSG(block.hopper != nullptr, "no barrier was initialized");
  return *block.hopper;
}

void Hopper::CopyStarted(const void* shared) { hidden[SharedAddress(shared) / kCopyBytes] = 1; }

void Hopper::CopyArrived(const void* shared) {
  arrived[Block::Current().thread().linear].push_back(SharedAddress(shared) / kCopyBytes);
}

void Hopper::Fence() {
  std::vector<size_t>& mine = arrived[Block::Current().thread().linear];
  for (const size_t piece : mine) hidden[piece] = 0;
  mine.clear();
}

const unsigned char* Hopper::Read(size_t address) const {
  TESSERA_CHECK_MSG(address < kMaxSharedBytes, "operand outside of shared memory");
  TESSERA_CHECK_MSG(hidden[address / kCopyBytes] == 0,
                    "operand was copied by threads, but not waited for or not fenced");
  return memory + address;
}

namespace {

// The 64 bits of a barrier. The ISA leaves their layout open, but bounds the counts.
struct BarrierState {
  uint64_t expected : 20;  // arrivals of each phase
  uint64_t pending : 20;   // … still to come in this one
  int64_t bytes : 22;      // expected and not landed
  uint64_t parity : 1;     // of this phase
};
static_assert(sizeof(BarrierState) == sizeof(Barrier));

constexpr int64_t kMaxBytes = (1 << 20) - 1;

template <typename Change>
void Update(Barrier* barrier, const Change& change) {
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(barrier) % 8 == 0);
  auto state = std::bit_cast<BarrierState>(*barrier);
  change(state);
  TESSERA_CHECK_MSG(state.bytes <= kMaxBytes && state.bytes >= -kMaxBytes, "tx-count overflows");
  if (state.pending == 0 && state.bytes == 0) {
    state.pending = state.expected;
    state.parity ^= 1;
  }
  *barrier = std::bit_cast<Barrier>(state);
}

void ArriveAt(Barrier* barrier, unsigned bytes) {
  Update(barrier, [&](BarrierState& state) {
    TESSERA_CHECK_MSG(state.pending > 0, "more arrivals than the barrier expects");
    state.bytes += bytes;
    --state.pending;
  });
}

void Land(const BoxLoad& load) {
  const auto [width, rows, matrices] = load.boxes.dims;
  const auto [row_bytes, matrix_bytes] = load.boxes.strides;
  const auto [box_width, box_rows, box_matrices] = load.boxes.box;
  const auto* data = static_cast<const unsigned char*>(load.boxes.data);
  unsigned char* to = load.shared;
  for (int64_t m = load.first[2]; m < load.first[2] + int64_t{box_matrices}; ++m) {
    for (int64_t r = load.first[1]; r < load.first[1] + int64_t{box_rows}; ++r) {
      for (unsigned c = 0; c < box_width; ++c, to += 2) {
        const int64_t column = load.first[0] + int64_t{c};
        const bool inside = column >= 0 && r >= 0 && m >= 0 &&
                            column < static_cast<int64_t>(width) &&
                            r < static_cast<int64_t>(rows) && m < static_cast<int64_t>(matrices);
        unsigned char* const swizzled = Hopper::Current().memory + Swizzled(SharedAddress(to));
        if (inside) {
          std::memcpy(swizzled, data + m * matrix_bytes + r * row_bytes + column * 2, 2);
        } else {
          std::memset(swizzled, 0, 2);
        }
      }
    }
  }
  Update(load.barrier, [&](BarrierState& state) { state.bytes -= to - load.shared; });
}

void LandAll(Barrier* barrier) {
  std::vector<BoxLoad>& loads = Hopper::Current().loads;
  std::erase_if(loads, [&](const BoxLoad& load) {
    if (load.barrier != barrier) return false;
    Land(load);
    return true;
  });
}

}  // namespace
}  // namespace emulated

using emulated::Block;
using emulated::Hopper;

uint32_t SharedAddress(const void* pointer) {
  const auto offset = static_cast<const unsigned char*>(pointer) - Block::Current().shared_memory;
  TESSERA_CHECK_MSG(offset >= 0 && static_cast<size_t>(offset) < emulated::kMaxSharedBytes,
                    "not in shared memory");
  return static_cast<uint32_t>(offset);
}

void InitBarrier(Barrier* barrier, unsigned arrivals) {
  Block& block = Block::Current();
  if (block.hopper == nullptr) block.hopper = std::make_shared<Hopper>(block);
  block.hopper->barriers_fenced = false;
  const emulated::BarrierState state = {arrivals, arrivals, 0, 0};
  *barrier = std::bit_cast<Barrier>(state);
}

void FenceBarrierInit() { Hopper::Current().barriers_fenced = true; }

void Arrive(Barrier* barrier) { emulated::ArriveAt(barrier, 0); }

void ArriveExpecting(Barrier* barrier, unsigned bytes) { emulated::ArriveAt(barrier, bytes); }

void WaitPhase(Barrier* barrier, unsigned parity) {
  Block::Current().WaitUntil([&] {
    emulated::LandAll(barrier);
    return std::bit_cast<emulated::BarrierState>(*barrier).parity != parity;
  });
}

void LoadTile(void* shared, const TensorMap& map, Barrier* barrier, int c0, int c1, int c2) {
  Hopper& hopper = Hopper::Current();
  TESSERA_CHECK_MSG(hopper.barriers_fenced, "the copy engine has not seen the barrier");
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(&map) % 64 == 0);
  TESSERA_CHECK(SharedAddress(shared) % 1024 == 0);
  emulated::BoxLoad load = {static_cast<unsigned char*>(shared), {}, {c0, c1, c2}, barrier};
  std::memcpy(&load.boxes, map.opaque.data(), sizeof(load.boxes));
  const auto [width, rows, matrices] = load.boxes.box;
  const size_t bytes = size_t{2} * width * rows * matrices;
  std::memset(shared, 0xff, bytes);
  std::memset(&hopper.hidden[SharedAddress(shared) / emulated::kCopyBytes], 0,
              bytes / emulated::kCopyBytes);
  hopper.loads.push_back(load);
}

void FenceAsyncProxy() { Hopper::Current().Fence(); }

void SyncThreads(int barrier, int threads) {
  TESSERA_CHECK(barrier > 0 && barrier < 16 && threads % emulated::kWarp == 0);
  Block::Current().Meet(Hopper::Current().named[static_cast<size_t>(barrier)],
                        static_cast<size_t>(threads), 0, nullptr, [](void**) {});
}

}  // namespace tessera::gpu
