// Products of warpgroups of gpu/hopper.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/base/check.h"
#include "gpu/hopper.h"
#include "gpu/matrix_descriptor.h"
#include "tests/emulated/hopper.h"

namespace tessera::gpu {
namespace emulated {
namespace {

constexpr int kDepth = 32;     // wgmma's K at most
constexpr int kWarpRows = 16;  // of the 64 of a warpgroup
constexpr int kMaxColumns = 256;

int DepthOf(OperandType type) { return type == OperandType::kFloat8 ? 32 : 16; }

float Widen(OperandType type, uint16_t half) {
  return type == OperandType::kBFloat16 ? BFloat16ToFloat(half) : Float16ToFloat(half);
}

// E4M3 (OCP OFP8).
float WidenByte(uint8_t byte) {
  const int exponent = byte >> 3 & 15;
  const int fraction = byte & 7;
  if ((byte & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -9)
                              : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return byte < 0x80 ? magnitude : -magnitude;
}

uint64_t Bits(uint64_t word, int first, int count) { return word >> first & ((1ull << count) - 1); }

// PTX ISA, "matrix descriptor", of an operand whose rows of K are 128 bytes, swizzled.
class Operand {
 public:
  Operand(uint64_t descriptor, OperandType type)
      : start_(Bits(descriptor, 0, 14) << 4), stride_(Bits(descriptor, 32, 14) << 4), type_(type) {
    TESSERA_CHECK_MSG(Bits(descriptor, 62, 2) == 1, "only the 128-byte swizzle is emulated");
    TESSERA_CHECK_MSG(Bits(descriptor, 49, 3) == 0, "base offset");
    TESSERA_CHECK_MSG((Bits(descriptor, 14, 2) | Bits(descriptor, 30, 2) | Bits(descriptor, 46, 3) |
                       Bits(descriptor, 52, 10)) == 0,
                      "bits that mean nothing are set");
  }
  void ReadRow(int row, float (&values)[kDepth]) const {
    for (int chunk = 0; chunk < 2; ++chunk) {
      const size_t address = start_ + static_cast<size_t>(row / 8) * stride_ +
                             static_cast<size_t>(row % 8 * 128 + chunk * 16);
      const unsigned char* bytes = Hopper::Current().Read(Swizzled(address));
      if (type_ == OperandType::kFloat8) {
        for (int i = 0; i < 16; ++i) values[chunk * 16 + i] = WidenByte(bytes[i]);
        continue;
      }
      uint16_t halves[8];
      std::memcpy(halves, bytes, 16);
      for (int i = 0; i < 8; ++i) values[chunk * 8 + i] = Widen(type_, halves[i]);
    }
  }

 private:
  size_t start_, stride_;
  OperandType type_;
};

// The warp's 16 rows of operand a; `works` are its lanes' views of the product.
void ReadRows(const Multiplication* const (&works)[kWarp], int first_row,
              float (&rows)[kWarpRows][kDepth]) {
  if (works[0]->registers == nullptr) {
    const Operand a(works[0]->a, works[0]->type);
    for (int r = 0; r < kWarpRows; ++r) a.ReadRow(first_row + r, rows[r]);
    return;
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    const Multiplication& work = *works[lane];
    TESSERA_CHECK_MSG(
        std::equal(work.as_they_were.begin(), work.as_they_were.end(), work.registers),
        "registers of a changed while their product was under way");
    for (int i = 0; i < 8; ++i) {
      const uint32_t pair = work.as_they_were[static_cast<size_t>(i / 2)];
      rows[lane / 4 + i / 2 % 2 * 8][lane % 4 * 2 + i % 2 + i / 4 * 8] =
          Widen(work.type, static_cast<uint16_t>(pair >> i % 2 * 16));
    }
  }
}

// sums [16, columns] (+)= rows · bᵀ.
void MultiplyRows(const Multiplication& work, const float (&rows)[kWarpRows][kDepth],
                  float (*sums)[kMaxColumns]) {
  const Operand b(work.b, work.type);
  const int depth = DepthOf(work.type);
  float columns[kDepth][kMaxColumns];
  for (int c = 0; c < work.columns; ++c) {
    float values[kDepth];
    b.ReadRow(c, values);
    for (int k = 0; k < depth; ++k) columns[k][c] = values[k];
  }
  for (int r = 0; r < kWarpRows; ++r) {
    for (int k = 0; k < depth; ++k) {
#pragma omp simd
      for (int c = 0; c < work.columns; ++c) {
        const float before = k > 0 || work.add ? sums[r][c] : 0.0f;
        sums[r][c] = before + rows[r][k] * columns[k][c];
      }
    }
  }
}

// Calls f(lane, index in d, row, column) for every element of a warp's accumulators.
template <typename F>
void ForFragment(int columns, const F& f) {
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < columns / 2; ++i) {
      f(lane, i, lane / 4 + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2);
    }
  }
}

struct Waiting {
  Multiplier* multiplier;
  size_t pending;
  unsigned thread;
};

// Does product `number` of the oldest group of each lane.
void Execute(void** lanes, size_t number) {
  const auto work = [&](int lane) -> Multiplication& {
    return static_cast<Waiting*>(lanes[lane])->multiplier->groups.front()[number];
  };
  const auto sum = [&](int lane) {
    return static_cast<Waiting*>(lanes[lane])->multiplier->sums.at(work(lane).d).data();
  };
  const int columns = work(0).columns;
  const int first_row =
      static_cast<int>(static_cast<Waiting*>(lanes[0])->thread % kWarpgroup) / kWarp * kWarpRows;
  float sums[kWarpRows][kMaxColumns];
  ForFragment(columns, [&](int lane, int i, int row, int col) { sums[row][col] = sum(lane)[i]; });
  const Multiplication* works[kWarp];
  for (int lane = 0; lane < kWarp; ++lane) works[lane] = &work(lane);
  float rows[kWarpRows][kDepth];
  ReadRows(works, first_row, rows);
  MultiplyRows(work(0), rows, sums);
  ForFragment(columns, [&](int lane, int i, int row, int col) { sum(lane)[i] = sums[row][col]; });
}

void Settle(Multiplier& multiplier) {
  for (const auto& [d, values] : multiplier.sums) {
    std::memcpy(d, values.data(), values.size() * sizeof(float));
  }
  multiplier.sums.clear();
  multiplier.fenced = false;
}

void ExecuteGroups(void** lanes) {
  const auto* first = static_cast<Waiting*>(lanes[0]);
  while (first->multiplier->groups.size() > first->pending) {
    const size_t count = first->multiplier->groups.front().size();
    for (size_t i = 0; i < count; ++i) Execute(lanes, i);
    for (int lane = 0; lane < kWarp; ++lane) {
      static_cast<Waiting*>(lanes[lane])->multiplier->groups.pop_front();
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    Multiplier& multiplier = *static_cast<Waiting*>(lanes[lane])->multiplier;
    if (multiplier.groups.empty() && multiplier.open.empty()) Settle(multiplier);
  }
}

Multiplier& Mine() { return Hopper::Current().multipliers[Block::Current().thread().linear]; }

}  // namespace
}  // namespace emulated

using emulated::Block;
using emulated::Hopper;

uint64_t MatrixDescriptor(const void* shared) {
  TESSERA_CHECK(SharedAddress(shared) % 1024 == 0);
  return MatrixDescriptorBits(SharedAddress(shared));
}

void FenceMultiply() { emulated::Mine().fenced = true; }

void StartMultiply(float* d, int columns, const uint32_t* a, uint64_t descriptor, uint64_t b,
                   bool add, OperandType type) {
  emulated::Multiplier& mine = emulated::Mine();
  TESSERA_CHECK_MSG(mine.fenced, "product without FenceMultiply() before it");
  if (!mine.sums.contains(d)) {
    mine.sums[d].assign(d, d + columns / 2);
    std::fill(d, d + columns / 2, std::numeric_limits<float>::quiet_NaN());
  }
  std::array<uint32_t, 4> registers = {};
  if (a != nullptr) std::copy_n(a, registers.size(), registers.begin());
  mine.open.push_back({d, columns, a, registers, descriptor, b, add, type});
}

// Also checks that the whole warpgroup runs the same products.
void CommitMultiply() {
  emulated::Multiplier& mine = emulated::Mine();
  const unsigned thread = Block::Current().thread().linear;
  Block::Current().Meet(Hopper::Current().warpgroups[thread / emulated::kWarpgroup],
                        emulated::kWarpgroup, thread % emulated::kWarpgroup, &mine, [](void** all) {
                          const auto& first = static_cast<emulated::Multiplier*>(all[0])->open;
                          for (int i = 1; i < emulated::kWarpgroup; ++i) {
                            const auto& other = static_cast<emulated::Multiplier*>(all[i])->open;
                            TESSERA_CHECK(std::equal(first.begin(), first.end(), other.begin(),
                                                     other.end(), [](const auto& x, const auto& y) {
                                                       return x.a == y.a && x.b == y.b &&
                                                              x.add == y.add &&
                                                              x.columns == y.columns &&
                                                              x.type == y.type;
                                                     }));
                          }
                        });
  mine.groups.push_back(std::move(mine.open));
  mine.open.clear();
}

// Each warp finishes its own rows, by itself.
void WaitMultiplyBut(size_t pending) {
  emulated::Waiting waiting = {&emulated::Mine(), pending, Block::Current().thread().linear};
  Block::Current().MeetWarp(&waiting, emulated::ExecuteGroups);
}

}  // namespace tessera::gpu
