#include "bench/gpu/cache.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

namespace tessera::bench {
namespace {

constexpr int kScaleExponent = -6;  // of all rows: numbers of activations of σ 1 are below 448

// Brings bfloat16 activations to what a scale times E4M3 numbers can be, towards zero.
void RoundToFloat8(std::vector<uint16_t>& values) {
  constexpr int kMinExponent = 127 - 6 + kScaleExponent;
  for (uint16_t& value : values) {
    const bool normal = (value >> 7 & 0xff) >= kMinExponent;
    value &= normal ? 0xfff0 : 0x8000;
  }
}

// The numbers of such values, four in a word.
std::vector<int32_t> Float8Words(const std::vector<uint16_t>& values) {
  std::vector<int32_t> words(values.size() / 4);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t magnitude = values[i] & 0x7fff;
    const uint32_t number =
        magnitude == 0 ? 0 : (magnitude >> 4) - ((127 - 7 + kScaleExponent) << 3);
    const uint32_t byte = (values[i] >> 8 & 0x80) | number;
    words[i / 4] = static_cast<int32_t>(static_cast<uint32_t>(words[i / 4]) | byte << i % 4 * 8);
  }
  return words;
}

}  // namespace

FilledCache::FilledCache(Bench& bench, const AttentionShape& shape, int64_t sequences,
                         int64_t context, int64_t rows, bool float8)
    : bench_(bench),
      shape_(shape),
      block_size_(bench.options().block_size),
      blocks_per_sequence_((context + block_size_ - 1) / block_size_),
      blocks_(sequences * blocks_per_sequence_),
      float8_(float8) {
  const int64_t block_elements = shape.kv_heads * block_size_ * shape.head_dim;
  keys_ = bench.activations().Take(kPattern * block_elements, 31);
  values_ = bench.activations().Take(kPattern * block_elements, 32);
  if (float8) {
    RoundToFloat8(keys_);
    RoundToFloat8(values_);
  }
  int64_t step = 7919;  // a prime; any step without a common divisor visits every block once
  while (std::gcd(step, blocks_) != 1) ++step;
  for (int64_t i = 0; i < blocks_; ++i) {
    tables_.push_back(static_cast<int32_t>((i * step + 3) % blocks_));
  }
  std::vector<int32_t> starts = {0}, contexts, positions, slots;
  for (int64_t s = 0; s < sequences; ++s) {
    starts.push_back(static_cast<int32_t>((s + 1) * rows));
    contexts.push_back(static_cast<int32_t>(context));
    for (int64_t p = context - rows; p < context; ++p) {
      positions.push_back(static_cast<int32_t>(p));
      slots.push_back(static_cast<int32_t>(Block(s, p) * block_size_ + p % block_size_));
    }
  }
  batch_.query_starts = bench.KeepInts(starts, {sequences + 1});
  batch_.context_lengths = bench.KeepInts(contexts, {sequences});
  batch_.block_tables = bench.KeepInts(tables_, {sequences, blocks_per_sequence_});
  batch_.positions = bench.KeepInts(positions, {1, sequences * rows});
  batch_.slots = bench.KeepInts(slots, {sequences * rows});
  batch_.max_query = rows;
  batch_.max_context = context;
}

double FilledCache::bytes() const {
  const auto rows = static_cast<double>(2 * blocks_ * shape_.kv_heads * block_size_);
  return rows * (float8_ ? shape_.head_dim + 4.0 : shape_.head_dim * bench_.element_bytes());
}

template <typename T>
Tensor FilledCache::Filled(DType dtype, const std::vector<T>& pattern) {
  const Tensor cache =
      bench_.KeepZeros(dtype, {blocks_, shape_.kv_heads, block_size_, shape_.head_dim});
  const auto width = static_cast<int64_t>(pattern.size()) / kPattern;
  Tensor source, rows;
  if constexpr (std::is_same_v<T, int32_t>) {
    source = bench_.KeepInts(pattern, {kPattern, width});
    rows = Tensor(DType::kInt32, {blocks_, width}, cache.data);
  } else {
    source = bench_.Keep(pattern, {kPattern, width});
    rows = cache.Reshape({blocks_, width});
  }
  for (int64_t begin = 0; begin < blocks_; begin += kPattern) {
    const int64_t count = std::min(kPattern, blocks_ - begin);
    bench_.backend().Copy(source.Rows(0, count), rows.Rows(begin, count));
  }
  return cache;
}

KvLayer FilledCache::NewLayer() {
  if (!float8_) return {Filled(bench_.dtype(), keys_), Filled(bench_.dtype(), values_), {}, {}};
  const int64_t rows = blocks_ * shape_.kv_heads * block_size_;
  const std::vector<float> scales(rows, std::ldexp(1.0f, kScaleExponent));
  const auto keep = [&] {
    return bench_.KeepFloats(scales, {blocks_, shape_.kv_heads, block_size_});
  };
  return {Filled(DType::kFloat8, Float8Words(keys_)), Filled(DType::kFloat8, Float8Words(values_)),
          keep(), keep()};
}

int64_t FilledCache::Place(int64_t block, int64_t position, int kv_head) const {
  const int64_t row =
      ((block % kPattern) * shape_.kv_heads + kv_head) * block_size_ + position % block_size_;
  return row * shape_.head_dim;
}

const uint16_t* FilledCache::Key(int64_t sequence, int64_t position, int kv_head) const {
  return &keys_[Place(Block(sequence, position), position, kv_head)];
}

const uint16_t* FilledCache::Value(int64_t sequence, int64_t position, int kv_head) const {
  return &values_[Place(Block(sequence, position), position, kv_head)];
}

}  // namespace tessera::bench
