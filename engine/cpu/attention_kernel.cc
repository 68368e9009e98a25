#include "engine/cpu/attention_kernel.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/base/check.h"
#include "engine/cpu/block_multiply.h"

// The order of these includes is Highway's.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/attention_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "engine/cpu/vectors-inl.h"
// clang-format on

// This file is compiled once per instruction set (foreach_target); HWY_DYNAMIC_DISPATCH at its end
// picks one at run time.
HWY_BEFORE_NAMESPACE();
namespace tessera::attention::HWY_NAMESPACE {

using namespace vectors::HWY_NAMESPACE;

void WidenRow(const void* x, DType dtype, int64_t n, float* y) {
  if (x == nullptr) {
    std::fill_n(y, n, 0.0f);
  } else if (dtype == DType::kFloat32) {
    std::memcpy(y, x, n * sizeof(float));
  } else if (dtype == DType::kBFloat16) {
    WidenBFloat16(static_cast<const uint16_t*>(x), n, y);
  } else {
    WidenFloat16(static_cast<const uint16_t*>(x), n, y);
  }
}

// x [kKeyTile, stride] → y [n, kKeyTile], four by four; n is rounded up to a multiple of 4. Written
// with the compiler's own vectors, as Highway's scalar target has no lanes to shuffle.
void Transpose(const float* x, int64_t stride, int64_t n, float* y) {
  using Quad = float __attribute__((vector_size(16)));
  for (int64_t key = 0; key < kKeyTile; key += 4) {
    for (int64_t i = 0; i < n; i += 4) {
      Quad r[4];
      for (int j = 0; j < 4; ++j) std::memcpy(&r[j], x + (key + j) * stride + i, sizeof(Quad));
      const Quad low01 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
      const Quad low23 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
      const Quad high01 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      const Quad high23 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      r[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
      r[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
      r[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
      r[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
      for (int j = 0; j < 4; ++j) std::memcpy(y + (i + j) * kKeyTile + key, &r[j], sizeof(Quad));
    }
  }
}

// Scores of one row become probabilities relative to the running maximum; sums and totals are
// brought to a new maximum.
void Softmax(QueryTile& tile, int64_t r, int64_t key_begin) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto first =
      hn::Set(di, static_cast<int32_t>(std::max<int64_t>(tile.first[r] - key_begin, 0)));
  const auto last =
      hn::Set(di, static_cast<int32_t>(std::min(tile.last[r] - key_begin, kKeyTile - 1)));
  float* scores = tile.scores + r * kKeyTile;
  const float before = tile.maxima[r];
  Vec most = hn::Set(d, before);
  for (int64_t i = 0; i < kKeyTile; i += kLanes) {
    const auto key = hn::Iota(di, static_cast<int32_t>(i));
    const auto hidden = hn::Or(hn::Lt(key, first), hn::Gt(key, last));
    const Vec seen = hn::IfThenElse(hn::RebindMask(d, hidden),
                                    hn::Set(d, -std::numeric_limits<float>::infinity()),
                                    hn::LoadU(d, scores + i));
    hn::StoreU(seen, d, scores + i);
    most = hn::Max(most, seen);
  }
  most = hn::MaxOfLanes(d, most);
  tile.maxima[r] = hn::GetLane(most);
  float* totals = tile.totals + r * kKeyTile;
  Vec total = hn::LoadU(d, totals);
  if (tile.maxima[r] != before) {
    const Vec factor = hn::Exp(d, hn::Sub(hn::Set(d, before), most));
    total = hn::Mul(total, factor);
    float* sums = tile.sums + r * tile.stride;
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      hn::StoreU(hn::Mul(hn::LoadU(d, sums + i), factor), d, sums + i);
    }
  }
  for (int64_t i = 0; i < kKeyTile; i += kLanes) {
    const Vec probability = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), most));
    hn::StoreU(probability, d, scores + i);
    total = hn::Add(total, probability);
  }
  hn::StoreU(total, d, totals);
}

void AddKeys(QueryTile& tile, DType dtype, int64_t key_begin, const void* const* keys,
             const void* const* values) {
  // Rows [begin, end) see at least one of these keys.
  int64_t begin = 0;
  int64_t end = tile.rows;
  while (begin < end && tile.last[begin] < key_begin) ++begin;
  while (end > begin && tile.first[end - 1] >= key_begin + kKeyTile) --end;
  if (begin == end) return;
  for (int64_t i = 0; i < kKeyTile; ++i) {
    WidenRow(keys[i], dtype, tile.head_dim, tile.widened + i * tile.stride);
    WidenRow(values[i], dtype, tile.head_dim, tile.values + i * tile.stride);
  }
  Transpose(tile.widened, tile.stride, tile.head_dim, tile.keys);
  float* scores = tile.scores + begin * kKeyTile;
  std::fill_n(scores, (end - begin) * kKeyTile, 0.0f);
  MultiplyAdd(end - begin, tile.queries + begin * tile.head_dim, tile.head_dim, tile.head_dim,
              tile.keys, kKeyTile, kKeyTile, scores, kKeyTile, tile.values);
  for (int64_t r = begin; r < end; ++r) Softmax(tile, r, key_begin);
  MultiplyAdd(end - begin, scores, kKeyTile, kKeyTile, tile.values, tile.stride, tile.stride,
              tile.sums + begin * tile.stride, tile.stride, tile.queries);
}

void Finish(QueryTile& tile) {
  const Floats d;
  for (int64_t r = 0; r < tile.rows; ++r) {
    const Vec total = hn::SumOfLanes(d, hn::LoadU(d, tile.totals + r * kKeyTile));
    float* sums = tile.sums + r * tile.stride;
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      hn::StoreU(hn::Div(hn::LoadU(d, sums + i), total), d, sums + i);
    }
  }
}

}  // namespace tessera::attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera {

QueryTile::QueryTile(int64_t max_rows, int64_t head_dim, Arena& arena)
    : head_dim(head_dim), stride((head_dim + 15) / 16 * 16) {
  queries = arena.New<float>(max_rows * head_dim);
  sums = arena.New<float>(max_rows * stride);
  scores = arena.New<float>(max_rows * kKeyTile);
  maxima = arena.New<float>(max_rows);
  totals = arena.New<float>(max_rows * kKeyTile);
  first = arena.New<int64_t>(max_rows);
  last = arena.New<int64_t>(max_rows);
  keys = arena.New<float>(stride * kKeyTile);
  values = arena.New<float>(kKeyTile * stride);
  widened = arena.New<float>(kKeyTile * stride);
  std::fill_n(values, kKeyTile * stride, 0.0f);
  std::fill_n(widened, kKeyTile * stride, 0.0f);
}

namespace attention {

HWY_EXPORT(AddKeys);
HWY_EXPORT(Finish);

void Start(QueryTile& tile) {
  std::fill_n(tile.sums, tile.rows * tile.stride, 0.0f);
  std::fill_n(tile.totals, tile.rows * kKeyTile, 0.0f);
  std::fill_n(tile.maxima, tile.rows, -std::numeric_limits<float>::infinity());
}

void AddKeys(QueryTile& tile, DType dtype, int64_t key_begin, const void* const* keys,
             const void* const* values) {
  TESSERA_CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  HWY_DYNAMIC_DISPATCH(AddKeys)(tile, dtype, key_begin, keys, values);
}

void Finish(QueryTile& tile) { HWY_DYNAMIC_DISPATCH(Finish)(tile); }

}  // namespace attention
}  // namespace tessera
#endif  // HWY_ONCE
