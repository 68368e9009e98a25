// Rotary positions, KV writes, and attention over the paged cache or over ragged spans.
#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/cpu/attention_kernel.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

constexpr int64_t kQueryRows = 48;  // queries times heads that share keys, in one tile

// Queries [query_begin, query_begin + queries) of one sequence, for all heads that share key head
// `kv_head`.
struct Item {
  int64_t row;       // of the first query in qkv
  int64_t result;    // its row in the result
  int64_t position;  // of the first query in its sequence
  int64_t queries;
  int64_t kv_head;
  int64_t sequence;
  int64_t span;   // keys of the sequence
  bool windowed;  // whether a sliding window bounds the keys its queries see
};

const char* At(const Tensor& x, int64_t element) {
  return x.as<char>() + element * static_cast<int64_t>(DTypeBytes(x.dtype));
}

// Cuts every sequence's new rows [starts[s], starts[s + 1]), the last of contexts[s] positions,
// into items.
std::vector<Item> MakeItems(std::span<const int32_t> starts, const int32_t* contexts,
                            const int32_t* window_ends, const AttentionShape& shape) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t step = std::max<int64_t>(1, kQueryRows / group);
  std::vector<Item> items;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int64_t count = starts[s + 1] - starts[s];
    const int64_t context = contexts == nullptr ? count : contexts[s];
    TESSERA_CHECK(count >= 0 && count <= context);
    const int64_t window_end = window_ends == nullptr ? context : window_ends[s];
    for (int64_t begin = 0, queries; begin < count; begin += queries) {
      const int64_t position = context - count + begin;
      queries = std::min(step, count - begin);
      if (position < window_end) queries = std::min(queries, window_end - position);
      for (int64_t head = 0; head < shape.kv_heads; ++head) {
        const int64_t row = starts[s] + begin;
        items.push_back({row, row, position, queries, head, static_cast<int64_t>(s), context,
                         position < window_end});
      }
    }
  }
  return items;
}

// The parts of items whose queries are rows [first, first + count) of qkv, which are rows [0,
// count) of the result.
std::vector<Item> Within(const std::vector<Item>& items, int64_t first, int64_t count) {
  std::vector<Item> parts;
  for (Item item : items) {
    const int64_t skipped = std::max<int64_t>(0, first - item.row);
    item.queries = std::min(item.row + item.queries, first + count) - item.row - skipped;
    if (item.queries <= 0) continue;
    item.row += skipped;
    item.position += skipped;
    item.result = item.row - first;
    parts.push_back(item);
  }
  return parts;
}

// Copies an item's queries, scaled, and says which keys each sees.
void FillTile(const Tensor& qkv, const AttentionShape& shape, const Item& item, bool causal,
              QueryTile& tile) {
  const int64_t group = shape.heads / shape.kv_heads;
  tile.rows = item.queries * group;
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t query = r / group;
    const int64_t head = item.kv_head * group + r % group;
    float* to = tile.queries + r * shape.head_dim;
    rows::Widen(At(qkv, (item.row + query) * qkv.cols() + head * shape.head_dim), qkv.dtype,
                shape.head_dim, to);
    rows::Scale(shape.scale, shape.head_dim, to);
    const int64_t position = item.position + query;
    const int64_t window = shape.sliding_window;
    tile.last[r] = causal ? position : item.span - 1;
    tile.first[r] = window > 0 && item.windowed ? std::max<int64_t>(0, position - window) : 0;
  }
  attention::Start(tile);
}

void WriteTile(const QueryTile& tile, const AttentionShape& shape, const Item& item, Tensor y) {
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t head = item.kv_head * group + r % group;
    const int64_t element = (item.result + r / group) * y.cols() + head * shape.head_dim;
    rows::Narrow(tile.sums + r * tile.stride, y.dtype, shape.head_dim,
                 const_cast<char*>(At(y, element)));
  }
}

// Attention of all items; locate(item, key, &key_data, &value_data) finds where a key's head lies.
template <typename Locate>
void AttendItems(const Tensor& qkv, const AttentionShape& shape, const std::vector<Item>& items,
                 bool causal, Tensor y, int threads, Arena& arena, const Locate& locate) {
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<QueryTile> tiles;
  for (int i = 0; i < threads; ++i) {
    tiles.emplace_back(std::max(kQueryRows, group), shape.head_dim, arena);
  }
  double work = 0;
  for (const Item& item : items) work += 4.0 * item.queries * group * item.span * shape.head_dim;
  ParallelFor(threads, items.size(), work, [&](int64_t i, int thread) {
    const Item& item = items[i];
    QueryTile& tile = tiles[thread];
    FillTile(qkv, shape, item, causal, tile);
    const int64_t end = tile.last[tile.rows - 1] + 1;
    for (int64_t key = tile.first[0] / kKeyTile * kKeyTile; key < end; key += kKeyTile) {
      const void* keys[kKeyTile] = {};
      const void* values[kKeyTile] = {};
      for (int64_t j = 0; j < std::min(kKeyTile, end - key); ++j) {
        if (key + j >= tile.first[0]) locate(item, key + j, &keys[j], &values[j]);
      }
      attention::AddKeys(tile, qkv.dtype, key, keys, values);
    }
    attention::Finish(tile);
    WriteTile(tile, shape, item, y);
  });
}

// Norms and rotates the queries and keys of rows of qkv in place.
class RotateHeads {
 public:
  RotateHeads(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms, const Rope& rope,
              Tensor positions, int threads, Arena& arena)
      : qkv_(qkv),
        shape_(shape),
        norms_(norms),
        rope_(rope),
        positions_(positions),
        pairs_(rope.pair_axis.elements()),
        scratch_(arena.New<float>(threads * (2 * pairs_ + shape.head_dim))) {}

  void Row(int64_t t, int thread) {
    float* cosine = scratch_ + thread * (2 * pairs_ + shape_.head_dim);
    float* sine = cosine + pairs_;
    float* values = sine + pairs_;
    for (int64_t i = 0; i < pairs_; ++i) {
      const int64_t axis = rope_.pair_axis.as<int32_t>()[i];
      TESSERA_CHECK(axis >= 0 && axis < positions_.rows());
      const int64_t position = positions_.as<int32_t>()[axis * positions_.cols() + t];
      TESSERA_CHECK(position >= 0 && position < rope_.cosine.dims[0]);
      cosine[i] = rope_.cosine.as<float>()[position * pairs_ + i];
      sine[i] = rope_.sine.as<float>()[position * pairs_ + i];
    }
    for (int64_t h = 0; h < shape_.heads + shape_.kv_heads; ++h) {
      const NormWeights& norm = h < shape_.heads ? norms_.query : norms_.key;
      // elements touched
      const int64_t rotated = norm.weight.empty() ? 2 * pairs_ : shape_.head_dim;
      if (rotated == 0) continue;
      char* head = const_cast<char*>(At(qkv_, t * qkv_.cols() + h * shape_.head_dim));
      rows::Widen(head, qkv_.dtype, rotated, values);
      if (!norm.weight.empty()) {
        rows::Norm(norm.kind, norm.epsilon, norm.weight.as<float>(), norm.bias.as<float>(), rotated,
                   values);
      }
      rows::Rotate(cosine, sine, pairs_, values);
      rows::Narrow(values, qkv_.dtype, rotated, head);
    }
  }

 private:
  const Tensor qkv_;
  const AttentionShape& shape_;
  const HeadNorms& norms_;
  const Rope& rope_;
  const Tensor positions_;
  const int64_t pairs_;
  float* scratch_;  // per thread: cosines, sines, one head
};

}  // namespace

void CpuBackend::DoRopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                               const Rope& rope, const PagedBatch& batch, const KvLayer& kv) {
  const int64_t dim = shape.head_dim;
  const int64_t block_size = kv.keys.dims[2];
  RotateHeads rotate(qkv, shape, norms, rope, batch.positions, threads_, arena_);
  const auto write = [&](int64_t t) {
    const int64_t slot = batch.slots.as<int32_t>()[t];
    TESSERA_CHECK(slot >= 0 && slot < kv.keys.dims[0] * block_size);
    for (int64_t h = shape.heads; h < shape.heads + 2 * shape.kv_heads; ++h) {
      const bool is_key = h < shape.heads + shape.kv_heads;
      const int64_t kv_head = h - shape.heads - (is_key ? 0 : shape.kv_heads);
      const int64_t place =
          ((slot / block_size) * shape.kv_heads + kv_head) * block_size + slot % block_size;
      std::memcpy(const_cast<char*>(At(is_key ? kv.keys : kv.values, place * dim)),
                  At(qkv, t * qkv.cols() + h * dim), dim * DTypeBytes(qkv.dtype));
    }
  };
  ParallelSpans(threads_, qkv.rows(), 8, 4.0 * qkv.elements(),
                [&](int64_t begin, int64_t end, int thread) {
                  for (int64_t t = begin; t < end; ++t) {
                    rotate.Row(t, thread);
                    write(t);
                  }
                });
}

void CpuBackend::DoApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                             Tensor positions) {
  const HeadNorms none;
  RotateHeads rotate(qkv, shape, none, rope, positions, threads_, arena_);
  ParallelSpans(threads_, qkv.rows(), 8, 3.0 * qkv.elements(),
                [&](int64_t begin, int64_t end, int thread) {
                  for (int64_t t = begin; t < end; ++t) rotate.Row(t, thread);
                });
}

void CpuBackend::DoPagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                                  const KvLayer& kv, Tensor y) {
  const auto* starts = batch.query_starts.as<int32_t>();
  const std::vector<Item> items =
      MakeItems({starts, static_cast<size_t>(batch.query_starts.elements())},
                batch.context_lengths.as<int32_t>(), batch.window_ends.as<int32_t>(), shape);
  const int64_t block_size = kv.keys.dims[2];
  const int64_t max_blocks = batch.block_tables.cols();
  const auto* tables = batch.block_tables.as<int32_t>();
  AttendItems(qkv, shape, items, /*causal=*/true, y, threads_, arena_,
              [&](const Item& item, int64_t key, const void** key_data, const void** value_data) {
                const int64_t block = tables[item.sequence * max_blocks + key / block_size];
                const int64_t place =
                    (block * shape.kv_heads + item.kv_head) * block_size + key % block_size;
                *key_data = At(kv.keys, place * shape.head_dim);
                *value_data = At(kv.values, place * shape.head_dim);
              });
}

void CpuBackend::DoFullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts,
                                 int64_t /*max_span*/, int64_t first, Tensor y) {
  const std::vector<Item> items =
      Within(MakeItems({starts.as<int32_t>(), static_cast<size_t>(starts.elements())}, nullptr,
                       nullptr, shape),
             first, y.rows());
  const int64_t hidden = int64_t{shape.heads} * shape.head_dim;
  AttendItems(qkv, shape, items, /*causal=*/false, y, threads_, arena_,
              [&](const Item& item, int64_t key, const void** key_data, const void** value_data) {
                const int64_t start = starts.as<int32_t>()[item.sequence];
                const int64_t element =
                    (start + key) * qkv.cols() + hidden + item.kv_head * shape.head_dim;
                *key_data = At(qkv, element);
                *value_data = At(qkv, element + hidden);
              });
}

}  // namespace tessera
