#include "engine/cpu/router_logits.h"

// The order of these includes is Highway's.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/router_logits.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "engine/cpu/vectors-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tessera::HWY_NAMESPACE {

using namespace vectors::HWY_NAMESPACE;
// Each sum runs as two, of even and of odd vectors, so that a tile of four rows and two experts
// hides the latency of its additions and loads less than it multiplies. Where registers are 16 it
// is half as large.
constexpr int kRows = kLanes >= 16 ? 4 : 2;
constexpr int kExperts = 2;

// Adds the products of vector i / kLanes to the sums of its parity.
template <int R, int E, typename LoadVector>
HWY_INLINE void AddProducts(const float* x, const float* w, int64_t hidden, const LoadVector& load,
                            Vec (&sums)[R][E]) {
  Vec rows[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) rows[r] = load(x + r * hidden);
#pragma GCC unroll 4
  for (int e = 0; e < E; ++e) {
    const Vec weight = load(w + e * hidden);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r][e] = hn::MulAdd(rows[r], weight, sums[r][e]);
  }
}

// logits[r · experts + e] of R rows and E experts.
template <int R, int E>
void Tile(const float* x, const float* w, int64_t hidden, int64_t experts, float* logits) {
  const Floats d;
  Vec even[R][E], odd[R][E];
#pragma GCC unroll 8
  for (int i = 0; i < R * E; ++i) even[i / E][i % E] = odd[i / E][i % E] = hn::Zero(d);
  const auto whole = [](const float* from) { return hn::LoadU(Floats(), from); };
  int64_t i = 0;
  for (; i + 2 * kLanes <= hidden; i += 2 * kLanes) {
    AddProducts(x + i, w + i, hidden, whole, even);
    AddProducts(x + i + kLanes, w + i + kLanes, hidden, whole, odd);
  }
  for (; i < hidden; i += kLanes) {
    const auto first = [&](const float* from) { return LoadFirst(from, hidden - i); };
    AddProducts(x + i, w + i, hidden, first, even);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int e = 0; e < E; ++e) {
      logits[r * experts + e] = hn::GetLane(hn::SumOfLanes(d, hn::Add(even[r][e], odd[r][e])));
    }
  }
}

// A single row takes more experts at a time instead.
template <int R, int E>
void Span(const float* x, const float* router, int64_t experts, int64_t hidden, float* logits) {
  int64_t e = 0;
  for (; e + E <= experts; e += E) {
    Tile<R, E>(x, router + e * hidden, hidden, experts, logits + e);
  }
  for (; e < experts; ++e) Tile<R, 1>(x, router + e * hidden, hidden, experts, logits + e);
}

void Logits(const float* x, int64_t rows, const float* router, int64_t experts, int64_t hidden,
            float* logits) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    Span<kRows, kExperts>(x + r * hidden, router, experts, hidden, logits + r * experts);
  }
  for (; r < rows; ++r) {
    Span<1, kRows>(x + r * hidden, router, experts, hidden, logits + r * experts);
  }
}

}  // namespace tessera::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera {

HWY_EXPORT(Logits);

void RouterLogits(const float* x, int64_t rows, const float* router, int64_t experts,
                  int64_t hidden, float* logits) {
  HWY_DYNAMIC_DISPATCH(Logits)(x, rows, router, experts, hidden, logits);
}

}  // namespace tessera
#endif
