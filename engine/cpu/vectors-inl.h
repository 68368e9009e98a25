// What the kernels written with Highway share. Included once per instruction set, after
// hwy/foreach_target.h.
#if defined(TESSERA_ENGINE_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_ENGINE_CPU_VECTORS_INL_H_
#undef TESSERA_ENGINE_CPU_VECTORS_INL_H_
#else
#define TESSERA_ENGINE_CPU_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tessera::vectors::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Floats>;
constexpr int64_t kLanes = hn::MaxLanes(Floats());

// The first `count` lanes from or to memory; other lanes are 0.
HWY_INLINE Vec LoadFirst(const float* x, int64_t count) {
  const Floats d;
  if (count >= kLanes) return hn::LoadU(d, x);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, x, count * sizeof(float));
  return hn::Load(d, lanes);
}

HWY_INLINE void StoreFirst(Vec v, float* x, int64_t count) {
  const Floats d;
  if (count >= kLanes) return hn::StoreU(v, d, x);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, d, lanes);
  std::memcpy(x, lanes, count * sizeof(float));
}

// x [n] → y [n]. x may lie at any address: a file's weights do.
inline void WidenBFloat16(const uint16_t* x, int64_t n, float* y) {
  const Floats d;
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<uint32_t, Floats> d32;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, x + i));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, y + i);
  }
  if (i == n) return;
  HWY_ALIGN uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, x + i, (n - i) * sizeof(uint16_t));
  const auto bits = hn::PromoteTo(d32, hn::Load(d16, lanes));
  StoreFirst(hn::BitCast(d, hn::ShiftLeft<16>(bits)), y + i, n - i);
}

inline void WidenFloat16(const uint16_t* x, int64_t n, float* y) {
  const Floats d;
  const hn::Rebind<hwy::float16_t, Floats> d16;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto half = hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(x + i));
    hn::StoreU(hn::PromoteTo(d, half), d, y + i);
  }
  if (i == n) return;
  HWY_ALIGN uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, x + i, (n - i) * sizeof(uint16_t));
  const auto half = hn::Load(d16, reinterpret_cast<const hwy::float16_t*>(lanes));
  StoreFirst(hn::PromoteTo(d, half), y + i, n - i);
}

}  // namespace tessera::vectors::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per instruction set
