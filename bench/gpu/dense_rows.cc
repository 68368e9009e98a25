// Dense layers of the language models.
#include <fmt/format.h>

#include <limits>

#include "bench/gpu/bench.h"
#include "engine/backend/half.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

struct DenseGeometry {
  std::string name;
  int64_t in;
  int64_t out;
  bool logits;  // float32 results
  std::vector<int64_t> tokens;
};

std::vector<DenseGeometry> Geometries(bool smoke) {
  if (smoke) return {{"tiny", 64, 96, false, {1, 20}}, {"tiny-head", 64, 131, true, {3}}};
  const std::vector<int64_t> tokens = {1, 8, 32, 128, 640, 2048, 8192};
  return {{"phi2-qkv", 2560, 7680, false, tokens},
          {"phi2-up", 2560, 10240, false, tokens},
          {"qwen3-qkv", 2048, 5120, false, tokens},
          {"qwen3-out", 4096, 2048, false, tokens},
          {"qwen3-head", 2048, 151936, true, {1, 32, 128}}};
}

Work WorkOf(const Bench& bench, const DenseGeometry& g, int64_t tokens) {
  const auto t = static_cast<double>(tokens);
  const auto in = static_cast<double>(g.in);
  const auto out = static_cast<double>(g.out);
  const double out_bytes = g.logits ? 4 : bench.element_bytes();
  return {in * out * bench.weight_bytes(g.logits) + t * in * bench.element_bytes() +
              t * out * out_bytes,
          2 * t * in * out};
}

Tensor Apply(Backend& backend, const DenseGeometry& g, Tensor x, const PackedLinear& packed) {
  return g.logits ? backend.LinearFloat32(x, packed) : backend.Linear(x, packed);
}

// The last row against double precision, at 256 columns.
double Error(Bench& bench, const DenseGeometry& g, const PackedLinear& packed,
             const MatrixFamily& weights, Tensor x, const std::vector<float>& host_x) {
  const int64_t columns = std::min<int64_t>(g.out, 256);
  bench.Poison(static_cast<double>(x.rows() * g.out) * 4);
  const auto out = bench.backend().DownloadFloats(Apply(bench.backend(), g, x, packed));
  bench.backend().ResetArena();
  if (!AllFinite(out)) return std::numeric_limits<double>::quiet_NaN();
  const int64_t row = x.rows() - 1;
  const std::vector<double> wide(&host_x[row * g.in], &host_x[row * g.in] + g.in);
  std::vector<float> sampled;
  std::vector<double> expected;
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t column = i * g.out / columns;
    sampled.push_back(out[row * g.out + column]);
    expected.push_back(Dot(weights.row(0, column), wide.data(), g.in));
  }
  return RelativeError(sampled, expected);
}

void RowsOf(Bench& bench, const DenseGeometry& g) {
  const MatrixFamily weights(bench.weights(), 1, g.out, g.in, 41);
  const double bytes = static_cast<double>(g.in * g.out) * bench.weight_bytes(g.logits);
  const int copies = bench.Copies(bytes);
  std::vector<std::unique_ptr<PackedLinear>> packed;
  for (int c = 0; c < copies; ++c) {
    auto made = bench.backend().PackLinear({{weights.matrix(0)}, {}, g.logits});
    TESSERA_CHECK_MSG(made.ok(), made.status().ToString());
    packed.push_back(*std::move(made));
  }
  bench.backend().Autotune();
  for (const int64_t tokens : g.tokens) {
    const Tensor x = bench.Keep(bench.activations().Take(tokens * g.in, 42), {tokens, g.in});
    const auto host_x = bench.activations().TakeFloats(tokens * g.in, 42);
    const double error = Error(bench, g, *packed[0], weights, x, host_x);
    bench.Add({"dense",
               "linear",
               g.name,
               tokens,
               fmt::format("{} to {}", g.in, g.out),
               {},
               WorkOf(bench, g, tokens),
               error,
               bench.tolerance()},
              copies, [&](int copy) { Apply(bench.backend(), g, x, *packed[copy]); });
    bench.Drop();
  }
}

}  // namespace

void DenseRows(Bench& bench) {
  for (const DenseGeometry& geometry : Geometries(bench.options().smoke)) RowsOf(bench, geometry);
}

}  // namespace tessera::bench
