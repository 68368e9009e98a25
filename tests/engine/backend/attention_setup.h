// The cache of some sequences and passes over them, for tests of attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/testing/backend_test.h"

namespace tessera::testing {

struct Span {
  int64_t cached;  // keys before this pass
  int64_t rows;    // new ones
};

// The cache of some sequences, and one pass over them.
class AttentionTest : public BackendTest {
 protected:
  struct Setup {
    AttentionShape shape;
    int block_size = 16;
    int64_t blocks_per_sequence = 0;
    std::vector<int32_t> blocks;  // [sequences, blocks_per_sequence], scattered
    std::vector<std::unique_ptr<Buffer>> buffers;
    KvLayer kv;
  };

  bool float8_kv() const { return GetParam().float8_kv; }
  DType kv_dtype() const { return float8_kv() ? DType::kFloat8 : dtype(); }

  Setup MakeSetup(AttentionShape shape, int block_size, int64_t sequences, int64_t max_context) {
    Setup setup;
    setup.shape = shape;
    setup.shape.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    setup.block_size = block_size;
    setup.blocks_per_sequence = (max_context + block_size - 1) / block_size;
    const int64_t count = sequences * setup.blocks_per_sequence;
    for (int64_t i = 0; i < count; ++i) {
      setup.blocks.push_back(static_cast<int32_t>((i * 7919 + 3) % count));  // 7919 is prime
    }
    const auto allocate = [&](DType of, Dims dims) {
      setup.buffers.push_back(*backend().Allocate(of, dims));
      return setup.buffers.back()->tensor();
    };
    for (Tensor* rows : {&setup.kv.keys, &setup.kv.values}) {
      *rows = allocate(kv_dtype(), {count, shape.kv_heads, block_size, shape.head_dim});
    }
    for (Tensor* scales : {&setup.kv.key_scales, &setup.kv.value_scales}) {
      if (!float8_kv()) continue;
      *scales = allocate(DType::kFloat32, {count, shape.kv_heads, block_size});
    }
    return setup;
  }

  PagedBatch MakeBatch(const Setup& setup, const std::vector<Span>& spans) {
    std::vector<int32_t> starts = {0}, contexts, positions, slots;
    PagedBatch batch;
    for (size_t s = 0; s < spans.size(); ++s) {
      starts.push_back(starts.back() + static_cast<int32_t>(spans[s].rows));
      contexts.push_back(static_cast<int32_t>(spans[s].cached + spans[s].rows));
      for (int64_t i = spans[s].cached; i < contexts.back(); ++i) {
        positions.push_back(static_cast<int32_t>(i));
        slots.push_back(setup.blocks[s * setup.blocks_per_sequence + i / setup.block_size] *
                            setup.block_size +
                        static_cast<int32_t>(i % setup.block_size));
      }
      batch.max_query = std::max(batch.max_query, spans[s].rows);
      batch.max_context = std::max<int64_t>(batch.max_context, contexts.back());
    }
    const auto sequences = static_cast<int64_t>(spans.size());
    const auto rows = static_cast<int64_t>(slots.size());
    batch.query_starts = backend().Upload(starts, {sequences + 1});
    batch.context_lengths = backend().Upload(contexts, {sequences});
    batch.block_tables =
        backend().Upload(std::span(setup.blocks).first(sequences * setup.blocks_per_sequence),
                         {sequences, setup.blocks_per_sequence});
    batch.positions = backend().Upload(positions, {1, rows});
    batch.slots = backend().Upload(slots, {rows});
    return batch;
  }

  // Writes and attends the rows of `qkv` [T, width] without rotation.
  std::vector<float> Pass(const Setup& setup, const std::vector<Span>& spans,
                          std::span<const float> qkv,
                          const std::vector<int32_t>& window_ends = {}) {
    const AttentionShape& shape = setup.shape;
    const int64_t width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    Tensor rows =
        backend().UploadActivations(qkv, {static_cast<int64_t>(qkv.size()) / width, width});
    PagedBatch batch = MakeBatch(setup, spans);
    if (!window_ends.empty()) {
      batch.window_ends = backend().Upload(window_ends, {static_cast<int64_t>(spans.size())});
    }
    Rope none;
    none.pair_axis = backend().New(DType::kInt32, {0});
    none.cosine = backend().New(DType::kFloat32, {1, 0});
    none.sine = backend().New(DType::kFloat32, {1, 0});
    backend().RopeWriteKv(rows, shape, {}, none, batch, setup.kv);
    return backend().DownloadFloats(backend().PagedAttention(rows, shape, batch, setup.kv));
  }

  // What the cache keeps of rows of `dim` numbers.
  std::vector<float> KeptRows(const std::vector<float>& rows, int64_t dim) const {
    return float8_kv() ? reference::Float8Rows(rows, dim) : rows;
  }

  // `qkv` [T, width] with keys and values as the cache keeps them.
  std::vector<float> Kept(const AttentionShape& shape, std::vector<float> qkv) const {
    const std::vector<float> rows = KeptRows(qkv, shape.head_dim);
    const int64_t queries = int64_t{shape.heads} * shape.head_dim;
    const int64_t width = queries + int64_t{2} * shape.kv_heads * shape.head_dim;
    for (size_t i = 0; i < qkv.size(); ++i) {
      if (static_cast<int64_t>(i) % width >= queries) qkv[i] = rows[i];
    }
    return qkv;
  }

  // Rows of the keys, or of the values, that the cache holds.
  std::vector<float> Cached(Tensor rows, Tensor scales) {
    if (!float8_kv()) return backend().DownloadFloats(rows);
    const int64_t dim = rows.cols();
    const auto words =
        backend().DownloadInts(Tensor(DType::kInt32, {rows.elements() / 4}, rows.data));
    const auto factors = backend().DownloadFloats(scales);
    std::vector<float> values(words.size() * 4);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto bits = static_cast<uint8_t>(static_cast<uint32_t>(words[i / 4]) >> i % 4 * 8);
      values[i] = factors[i / dim] * reference::Float8Number(bits);
    }
    return values;
  }

  // What row `row` of a sequence with qkv rows [context, width] gets.
  static reference::Values Expected(const AttentionShape& shape, float scale,
                                    const std::vector<float>& qkv, int64_t row, int64_t context,
                                    bool causal) {
    const int64_t dim = shape.head_dim;
    const int64_t width = (shape.heads + 2 * shape.kv_heads) * dim;
    reference::Values result;
    for (int64_t h = 0; h < shape.heads; ++h) {
      const int64_t kv_head = h / (shape.heads / shape.kv_heads);
      reference::Values query, keys, values;
      for (int64_t i = 0; i < dim; ++i) query.push_back(qkv[row * width + h * dim + i]);
      for (int64_t j = 0; j < context; ++j) {
        const float* key = &qkv[j * width + (shape.heads + kv_head) * dim];
        const float* value = key + shape.kv_heads * dim;
        keys.insert(keys.end(), key, key + dim);
        values.insert(values.end(), value, value + dim);
      }
      const int64_t first =
          shape.sliding_window > 0 ? std::max<int64_t>(0, row - shape.sliding_window) : 0;
      const auto y = reference::AttendOne(query.data(), keys, values, dim, scale, first,
                                          causal ? row : context - 1);
      result.insert(result.end(), y.begin(), y.end());
    }
    return result;
  }
};

}  // namespace tessera::testing
