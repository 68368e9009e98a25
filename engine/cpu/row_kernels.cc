#include "engine/cpu/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/base/check.h"

// The order of these includes is Highway's.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/row_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "engine/cpu/vectors-inl.h"
// clang-format on

// This file is compiled once per instruction set (foreach_target); HWY_DYNAMIC_DISPATCH at its end
// picks one at run time.
HWY_BEFORE_NAMESPACE();
namespace tessera::rows::HWY_NAMESPACE {

using namespace vectors::HWY_NAMESPACE;

// x[i] = f(x[i], i) in place, f of a vector and the place of its first lane.
template <typename Function>
void Map(float* x, int64_t n, const Function& f) {
  for (int64_t i = 0; i < n; i += kLanes) StoreFirst(f(LoadFirst(x + i, n - i), i), x + i, n - i);
}

void NarrowBFloat16(const float* x, int64_t n, uint16_t* y) {
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<uint32_t, Floats> d32;
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec v = LoadFirst(x + i, n - i);
    const auto bits = hn::BitCast(d32, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
    auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7FFFu)));
    const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000u));  // NaN stays NaN
    rounded = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
    const auto half = hn::TruncateTo(d16, hn::ShiftRight<16>(rounded));
    if (n - i >= kLanes) {
      hn::StoreU(half, d16, y + i);
    } else {
      HWY_ALIGN uint16_t lanes[kLanes];
      hn::Store(half, d16, lanes);
      std::memcpy(y + i, lanes, (n - i) * sizeof(uint16_t));
    }
  }
}

void NarrowEachBFloat16(const float* x, int64_t x_stride, int64_t count, int64_t n,
                        int64_t y_stride, uint16_t* y) {
  for (int64_t r = 0; r < count; ++r) NarrowBFloat16(x + r * x_stride, n, y + r * y_stride);
}

void NarrowFloat16(const float* x, int64_t n, uint16_t* y) {
  const hn::Rebind<hwy::float16_t, Floats> d16;
  for (int64_t i = 0; i < n; i += kLanes) {
    HWY_ALIGN uint16_t lanes[kLanes];
    hn::Store(hn::DemoteTo(d16, LoadFirst(x + i, n - i)), d16,
              reinterpret_cast<hwy::float16_t*>(lanes));
    std::memcpy(y + i, lanes, std::min(kLanes, n - i) * sizeof(uint16_t));
  }
}

void AddScaled(const float* x, float scale, int64_t n, float* y) {
  const Vec factor = hn::Set(Floats(), scale);
  Map(y, n, [&](Vec v, int64_t i) { return hn::MulAdd(factor, LoadFirst(x + i, n - i), v); });
}

void AddScaledBFloat16(const uint16_t* x, float scale, int64_t n, float* y) {
  const Floats d;
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<uint32_t, Floats> d32;
  const Vec factor = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, x + i));
    const Vec wide = hn::BitCast(d, hn::ShiftLeft<16>(bits));
    hn::StoreU(hn::MulAdd(factor, wide, hn::LoadU(d, y + i)), d, y + i);
  }
  float rest[kLanes];
  if (i == n) return;
  WidenBFloat16(x + i, n - i, rest);
  AddScaled(rest, scale, n - i, y + i);
}

void Add(const float* x, int64_t n, float* y) {
  Map(y, n, [&](Vec v, int64_t i) { return hn::Add(v, LoadFirst(x + i, n - i)); });
}

void AddToEach(const float* x, int64_t n, int64_t count, int64_t stride, float* y) {
  for (int64_t r = 0; r < count; ++r) Add(x, n, y + r * stride);
}

void Scale(float scale, int64_t n, float* x) {
  const Vec factor = hn::Set(Floats(), scale);
  Map(x, n, [&](Vec v, int64_t) { return hn::Mul(factor, v); });
}

// x · σ(u).
Vec MulSigmoid(Vec x, Vec u) {
  const Floats d;
  // e^-u overflows to infinity below -88.7: clamped, the quotient is then 0 to within the smallest
  // float32.
  const Vec e = hn::Exp(d, hn::Min(hn::Neg(u), hn::Set(d, 88.0f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), e));
}

Vec GeluTanh(Vec x) {
  // ½(1 + tanh v) = σ(2v), v = √(2/π) (x + 0.044715 x³).
  const Floats d;
  const Vec square = hn::Mul(x, x);
  const Vec inner = hn::MulAdd(hn::Set(d, 0.044715f), square, hn::Set(d, 1.0f));
  return MulSigmoid(x, hn::Mul(hn::Set(d, 1.5957691216057308f), hn::Mul(x, inner)));
}

Vec GeluErf(Vec x) {
  // Φ(x) = ½ erfc(-x/√2); erfc by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26
  // (|error| < 1.5e-7).
  const Floats d;
  const Vec one = hn::Set(d, 1.0f);
  const Vec z = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
  const Vec t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), z, one));
  Vec sum = hn::Set(d, 1.061405429f);
  sum = hn::MulAdd(sum, t, hn::Set(d, -1.453152027f));
  sum = hn::MulAdd(sum, t, hn::Set(d, 1.421413741f));
  sum = hn::MulAdd(sum, t, hn::Set(d, -0.284496736f));
  sum = hn::MulAdd(sum, t, hn::Set(d, 0.254829592f));
  const Vec tail = hn::Mul(hn::Mul(sum, t), hn::Exp(d, hn::Neg(hn::Mul(z, z))));
  const Vec half = hn::Mul(hn::Set(d, 0.5f), tail);
  const Vec phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half, hn::Sub(one, half));
  return hn::Mul(x, phi);
}

Vec ActivateVec(Activation activation, Vec x) {
  switch (activation) {
    case Activation::kGeluErf:
      return GeluErf(x);
    case Activation::kGeluTanh:
      return GeluTanh(x);
    case Activation::kQuickGelu:
      return MulSigmoid(x, hn::Mul(hn::Set(Floats(), 1.702f), x));
    case Activation::kSilu:
      return MulSigmoid(x, x);
    case Activation::kNone:
      break;
  }
  return x;
}

void Activate(Activation activation, int64_t n, float* x) {
  Map(x, n, [&](Vec v, int64_t) { return ActivateVec(activation, v); });
}

void GatedActivate(Activation activation, const float* up, int64_t n, float* gate) {
  Map(gate, n, [&](Vec v, int64_t i) {
    return hn::Mul(ActivateVec(activation, v), LoadFirst(up + i, n - i));
  });
}

float Dot(const float* x, const float* w, int64_t n) {
  const Floats d;
  Vec sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const int64_t at = i + j * kLanes;
      sums[j] = hn::MulAdd(hn::LoadU(d, x + at), hn::LoadU(d, w + at), sums[j]);
    }
  }
  for (; i < n; i += kLanes) {
    sums[0] = hn::MulAdd(LoadFirst(x + i, n - i), LoadFirst(w + i, n - i), sums[0]);
  }
  const Vec sum = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

float Sum(const float* x, int64_t n) {
  Vec sum = hn::Zero(Floats());
  for (int64_t i = 0; i < n; i += kLanes) sum = hn::Add(sum, LoadFirst(x + i, n - i));
  return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

void Norm(NormKind kind, float epsilon, const float* weight, const float* bias, int64_t n,
          float* x) {
  const Floats d;
  if (kind == NormKind::kLayerNorm) {
    const Vec mean = hn::Set(d, Sum(x, n) / static_cast<float>(n));
    Map(x, n, [&](Vec v, int64_t) { return hn::Sub(v, mean); });
  }
  const float variance = Dot(x, x, n) / static_cast<float>(n);
  const Vec factor = hn::Set(d, 1.0f / std::sqrt(variance + epsilon));
  Map(x, n, [&](Vec v, int64_t i) {
    const Vec scaled = hn::Mul(v, factor);
    const Vec w = LoadFirst(weight + i, n - i);
    return bias == nullptr ? hn::Mul(scaled, w) : hn::MulAdd(scaled, w, LoadFirst(bias + i, n - i));
  });
}

void Rotate(const float* cosine, const float* sine, int64_t pairs, float* x) {
  for (int64_t i = 0; i < pairs; i += kLanes) {
    const int64_t count = pairs - i;
    const Vec a = LoadFirst(x + i, count);
    const Vec b = LoadFirst(x + pairs + i, count);
    const Vec c = LoadFirst(cosine + i, count);
    const Vec s = LoadFirst(sine + i, count);
    StoreFirst(hn::NegMulAdd(b, s, hn::Mul(a, c)), x + i, count);
    StoreFirst(hn::MulAdd(a, s, hn::Mul(b, c)), x + pairs + i, count);
  }
}

}  // namespace tessera::rows::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::rows {

HWY_EXPORT(WidenBFloat16);
HWY_EXPORT(NarrowBFloat16);
HWY_EXPORT(NarrowEachBFloat16);
HWY_EXPORT(AddToEach);
HWY_EXPORT(WidenFloat16);
HWY_EXPORT(NarrowFloat16);
HWY_EXPORT(AddScaled);
HWY_EXPORT(AddScaledBFloat16);
HWY_EXPORT(Add);
HWY_EXPORT(Scale);
HWY_EXPORT(Activate);
HWY_EXPORT(GatedActivate);
HWY_EXPORT(Norm);
HWY_EXPORT(Rotate);
HWY_EXPORT(Dot);

void Widen(const void* x, DType dtype, int64_t n, float* y) {
  if (n == 0) return;  // there may be no memory, which memcpy does not take
  if (dtype == DType::kFloat32) {
    std::memcpy(y, x, n * sizeof(float));
  } else if (dtype == DType::kBFloat16) {
    HWY_DYNAMIC_DISPATCH(WidenBFloat16)(static_cast<const uint16_t*>(x), n, y);
  } else {
    TESSERA_CHECK(dtype == DType::kFloat16);
    HWY_DYNAMIC_DISPATCH(WidenFloat16)(static_cast<const uint16_t*>(x), n, y);
  }
}

void Narrow(const float* x, DType dtype, int64_t n, void* y) {
  if (n == 0) return;
  if (dtype == DType::kFloat32) {
    std::memcpy(y, x, n * sizeof(float));
  } else if (dtype == DType::kBFloat16) {
    HWY_DYNAMIC_DISPATCH(NarrowBFloat16)(x, n, static_cast<uint16_t*>(y));
  } else {
    TESSERA_CHECK(dtype == DType::kFloat16);
    HWY_DYNAMIC_DISPATCH(NarrowFloat16)(x, n, static_cast<uint16_t*>(y));
  }
}

void NarrowEach(const float* x, int64_t x_stride, int64_t count, int64_t n, DType dtype,
                int64_t y_stride, void* y) {
  if (dtype == DType::kBFloat16) {
    HWY_DYNAMIC_DISPATCH(NarrowEachBFloat16)
    (x, x_stride, count, n, y_stride, static_cast<uint16_t*>(y));
    return;
  }
  for (int64_t r = 0; r < count; ++r) {
    Narrow(x + r * x_stride, dtype, n, static_cast<char*>(y) + r * y_stride * DTypeBytes(dtype));
  }
}

void AddToEach(const float* x, int64_t n, int64_t count, int64_t stride, float* y) {
  HWY_DYNAMIC_DISPATCH(AddToEach)(x, n, count, stride, y);
}

void Add(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(Add)(x, n, y); }

void AddScaled(const float* x, float scale, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(x, scale, n, y);
}

void AddScaled(const void* x, DType dtype, float scale, int64_t n, float* wide, float* y) {
  if (dtype == DType::kBFloat16) {
    HWY_DYNAMIC_DISPATCH(AddScaledBFloat16)(static_cast<const uint16_t*>(x), scale, n, y);
    return;
  }
  Widen(x, dtype, n, wide);
  AddScaled(wide, scale, n, y);
}

void Scale(float scale, int64_t n, float* x) { HWY_DYNAMIC_DISPATCH(Scale)(scale, n, x); }

void Activate(Activation activation, int64_t n, float* x) {
  if (activation != Activation::kNone) HWY_DYNAMIC_DISPATCH(Activate)(activation, n, x);
}

void GatedActivate(Activation activation, const float* up, int64_t n, float* gate) {
  HWY_DYNAMIC_DISPATCH(GatedActivate)(activation, up, n, gate);
}

void Norm(NormKind kind, float epsilon, const float* weight, const float* bias, int64_t n,
          float* x) {
  HWY_DYNAMIC_DISPATCH(Norm)(kind, epsilon, weight, bias, n, x);
}

void Rotate(const float* cosine, const float* sine, int64_t pairs, float* x) {
  HWY_DYNAMIC_DISPATCH(Rotate)(cosine, sine, pairs, x);
}

float Dot(const float* x, const float* w, int64_t n) { return HWY_DYNAMIC_DISPATCH(Dot)(x, w, n); }

}  // namespace tessera::rows
#endif  // HWY_ONCE
