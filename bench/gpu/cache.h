// A filled paged cache and the passes over it that attention is measured with.
#pragma once

#include <vector>

#include "bench/gpu/bench.h"

namespace tessera::bench {

// `sequences` of `context` keys each, the last `rows` of them new, in blocks that lie scattered.
class FilledCache {
 public:
  // Of 8 bits where `float8`.
  FilledCache(Bench& bench, const AttentionShape& shape, int64_t sequences, int64_t context,
              int64_t rows, bool float8 = false);

  const PagedBatch& batch() const { return batch_; }
  double bytes() const;  // of keys and values, and of their scales
  // Another layer's cache with the same contents.
  KvLayer NewLayer();
  // Head `kv_head` of the key or value at `position` of a sequence, [head_dim].
  const uint16_t* Key(int64_t sequence, int64_t position, int kv_head) const;
  const uint16_t* Value(int64_t sequence, int64_t position, int kv_head) const;

 private:
  static constexpr int64_t kPattern = 61;  // blocks of different contents; a prime

  int64_t Block(int64_t sequence, int64_t position) const {
    return tables_[sequence * blocks_per_sequence_ + position / block_size_];
  }
  int64_t Place(int64_t block, int64_t position, int kv_head) const;
  // A tensor of blocks that repeats `pattern`, kPattern blocks.
  template <typename T>
  Tensor Filled(DType dtype, const std::vector<T>& pattern);

  Bench& bench_;
  const AttentionShape shape_;
  const int64_t block_size_;
  const int64_t blocks_per_sequence_;
  const int64_t blocks_;
  const bool float8_;
  std::vector<int32_t> tables_;
  std::vector<uint16_t> keys_;  // kPattern blocks
  std::vector<uint16_t> values_;
  PagedBatch batch_;
};

}  // namespace tessera::bench
