#include "bench/gpu/cache.h"

#include <algorithm>
#include <numeric>

namespace tessera::bench {

FilledCache::FilledCache(Bench& bench, const AttentionShape& shape, int64_t sequences,
                         int64_t context, int64_t rows)
    : bench_(bench),
      shape_(shape),
      block_size_(bench.options().block_size),
      blocks_per_sequence_((context + block_size_ - 1) / block_size_),
      blocks_(sequences * blocks_per_sequence_) {
  const int64_t block_elements = shape.kv_heads * block_size_ * shape.head_dim;
  keys_ = bench.activations().Take(kPattern * block_elements, 31);
  values_ = bench.activations().Take(kPattern * block_elements, 32);
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
  const int64_t elements = 2 * blocks_ * shape_.kv_heads * block_size_ * shape_.head_dim;
  return static_cast<double>(elements) * bench_.element_bytes();
}

Tensor FilledCache::Filled(const std::vector<uint16_t>& pattern) {
  const int64_t elements = shape_.kv_heads * block_size_ * shape_.head_dim;
  const Tensor cache =
      bench_.KeepZeros(bench_.dtype(), {blocks_, shape_.kv_heads, block_size_, shape_.head_dim});
  const Tensor rows = cache.Reshape({blocks_, elements});
  const Tensor source = bench_.Keep(pattern, {kPattern, elements});
  for (int64_t begin = 0; begin < blocks_; begin += kPattern) {
    const int64_t count = std::min(kPattern, blocks_ - begin);
    bench_.backend().Copy(source.Rows(0, count), rows.Rows(begin, count));
  }
  return cache;
}

KvLayer FilledCache::NewLayer() { return {Filled(keys_), Filled(values_)}; }

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
