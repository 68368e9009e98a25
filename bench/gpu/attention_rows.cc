// Attention of decoding rows over the paged cache, and of a prompt's rows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/gpu/bench.h"
#include "bench/gpu/cache.h"
#include "engine/backend/half.h"

namespace tessera::bench {
namespace {

struct Pass {
  int64_t sequences;
  int64_t context;
  int64_t rows;         // new ones of each sequence
  bool float8 = false;  // the cache has 8 bits
};
struct AttentionGeometry {
  std::string name;
  AttentionShape shape;
  std::vector<Pass> passes;
};

std::vector<AttentionGeometry> Geometries(bool smoke) {
  if (smoke) {
    return {{"tiny-mha", {4, 4, 16, 0.25f}, {{3, 40, 1}, {2, 20, 20}}},
            {"tiny-gqa", {8, 2, 16, 0.25f}, {{1, 100, 1}, {1, 100, 1, true}}}};
  }
  return {{"phi2-32x80",
           {32, 32, 80, 1 / std::sqrt(80.0f)},
           {{1, 1024, 1},
            {1, 4096, 1},
            {32, 2048, 1},
            {128, 1024, 1},
            {4, 640, 640},
            {128, 1024, 1, true}}},
          {"qwen3-32q-4kv-x128",
           {32, 4, 128, 1 / std::sqrt(128.0f)},
           {{1, 1024, 1},
            {1, 32768, 1},
            {64, 1024, 1},
            {128, 2048, 1},
            {4, 640, 640},
            {1, 32768, 1, true},
            {128, 2048, 1, true},
            {4, 640, 640, true}}}};
}

std::vector<double> Reference(const FilledCache& cache, const AttentionShape& shape,
                              const float* query, int64_t sequence, int64_t position, int head) {
  const int kv_head = head / (shape.heads / shape.kv_heads);
  std::vector<double> scores(position + 1, 0.0);
  for (int64_t p = 0; p <= position; ++p) {
    const uint16_t* key = cache.Key(sequence, p, kv_head);
    for (int i = 0; i < shape.head_dim; ++i) scores[p] += query[i] * BFloat16ToFloat(key[i]);
    scores[p] *= shape.scale;
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  std::vector<double> y(shape.head_dim, 0.0);
  for (int64_t p = 0; p <= position; ++p) {
    const double probability = std::exp(scores[p] - most);
    total += probability;
    const uint16_t* value = cache.Value(sequence, p, kv_head);
    for (int i = 0; i < shape.head_dim; ++i) y[i] += probability * BFloat16ToFloat(value[i]);
  }
  for (double& value : y) value /= total;
  return y;
}

// All heads of the last sequence's last row.
double Error(Bench& bench, const FilledCache& cache, const AttentionShape& shape, const Pass& pass,
             Tensor qkv, const std::vector<float>& host_qkv, const KvLayer& kv) {
  const int64_t width = int64_t{shape.heads} * shape.head_dim;
  bench.Poison(static_cast<double>(qkv.rows() * width) * bench.element_bytes());
  const auto out =
      bench.backend().DownloadFloats(bench.backend().PagedAttention(qkv, shape, cache.batch(), kv));
  bench.backend().ResetArena();
  if (!AllFinite(out)) return std::numeric_limits<double>::quiet_NaN();
  const float* queries = &host_qkv[(qkv.rows() - 1) * qkv.cols()];
  std::vector<double> expected;
  for (int head = 0; head < shape.heads; ++head) {
    for (const double value : Reference(cache, shape, queries + head * shape.head_dim,
                                        pass.sequences - 1, pass.context - 1, head)) {
      expected.push_back(value);
    }
  }
  return RelativeError(std::span(out).last(width), expected);
}

// Reads the cache and the queries, writes the outputs; two products over the keys that each row
// sees.
Work WorkOf(Bench& bench, const AttentionShape& shape, const Pass& pass, double cache_bytes) {
  const double width = shape.heads * shape.head_dim;
  const double rows = static_cast<double>(pass.sequences * pass.rows);
  const double seen = static_cast<double>(pass.context) - (static_cast<double>(pass.rows) - 1) / 2;
  return {cache_bytes + 2 * rows * width * bench.element_bytes(), 4 * rows * width * seen};
}

void RowOfPass(Bench& bench, const AttentionGeometry& geometry, const Pass& pass) {
  const AttentionShape& shape = geometry.shape;
  FilledCache cache(bench, shape, pass.sequences, pass.context, pass.rows, pass.float8);
  const int copies = bench.Copies(cache.bytes());
  std::vector<KvLayer> layers;
  for (int c = 0; c < copies; ++c) layers.push_back(cache.NewLayer());
  const int64_t rows = pass.sequences * pass.rows;
  const int64_t width = int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim;
  const Tensor qkv = bench.Keep(bench.activations().Take(rows * width, 33), {rows, width});
  const auto host_qkv = bench.activations().TakeFloats(rows * width, 33);
  const double error = Error(bench, cache, shape, pass, qkv, host_qkv, layers[0]);
  bench.Add({"attention",
             std::string(pass.rows == 1 ? "decode" : "prefill") + (pass.float8 ? " fp8" : ""),
             geometry.name,
             rows,
             fmt::format("batch {} context {}", pass.sequences, pass.context),
             {},
             WorkOf(bench, shape, pass, cache.bytes()),
             error,
             kTolerance},
            copies, [&](int copy) {
              bench.backend().PagedAttention(qkv, shape, cache.batch(), layers[copy]);
            });
  bench.Drop();
}

}  // namespace

void AttentionRows(Bench& bench) {
  for (const auto& geometry : Geometries(bench.options().smoke)) {
    for (const Pass& pass : geometry.passes) {
      if (pass.float8 && !bench.backend().CheckKvDType(DType::kFloat8).ok()) continue;
      RowOfPass(bench, geometry, pass);
    }
  }
}

}  // namespace tessera::bench
