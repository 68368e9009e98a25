// Mixture-of-experts layers: the experts' products alone (rows gathered, both products,
// activation), routing with sorting and combining alone, and the whole layer from hidden rows to
// hidden rows.
#include <fmt/format.h>

#include <fstream>
#include <limits>
#include <set>

#include "bench/gpu/bench.h"
#include "bench/gpu/moe.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

constexpr int64_t kSampledRows = 2;

struct HostRouting {
  std::vector<int32_t> experts;  // [T, k]
  std::vector<float> weights;    // [T, k]
  int64_t touched = 0;           // experts that any token chose
};

HostRouting Fetch(Backend& backend, const Routing& routing) {
  HostRouting host = {backend.DownloadInts(routing.experts),
                      backend.DownloadFloats(routing.weights)};
  host.touched = std::ssize(std::set<int32_t>(host.experts.begin(), host.experts.end()));
  return host;
}

// Text that bench/gpu/peers.py reads: "name value" lines, "rows", then a token's experts and
// weights a line.
void WriteRouting(const std::string& path, const MoeGeometry& g, int64_t tokens,
                  const HostRouting& routing, const std::string& popularity) {
  std::ofstream file(path);
  file << fmt::format(
      "shape {}\ntokens {}\nrouting {}\nexperts {}\nhidden {}\nffn {}\nchosen {}\ngated {}\n"
      "biased {}\ntouched {}\nrows\n",
      g.name, tokens, popularity, g.experts, g.hidden, g.ffn, g.chosen, g.gated ? 1 : 0,
      g.biased ? 1 : 0, routing.touched);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int j = 0; j < g.chosen; ++j) file << routing.experts[t * g.chosen + j] << ' ';
    for (int j = 0; j < g.chosen; ++j) file << routing.weights[t * g.chosen + j] << ' ';
    file << '\n';
  }
  TESSERA_CHECK_MSG(file.good(), "cannot write " + path);
}

// What the layer has to do under this very routing: read each touched expert once, and the rows.
Work LayerWork(const Bench& bench, const MoeGeometry& g, int64_t tokens, int64_t touched) {
  const double element = bench.element_bytes();
  const double rows = static_cast<double>(tokens) * static_cast<double>(g.hidden);
  return {static_cast<double>(touched) * g.elements() * bench.weight_bytes() + 2 * rows * element,
          2.0 * static_cast<double>(g.chosen * tokens) * g.elements()};
}

// Reads rows, the router and what the experts gave, writes rows.
Work RouteWork(const Bench& bench, const MoeGeometry& g, int64_t tokens) {
  const double rows = static_cast<double>(tokens * g.hidden) * bench.element_bytes();
  const double router = static_cast<double>(g.experts * g.hidden) * 4;
  return {rows * (2 + g.chosen) + router, 2.0 * static_cast<double>(tokens * g.experts * g.hidden)};
}

// The layer's output on the device against double precision, at the first and the last row.
double LayerError(Bench& bench, MoeLayer& layer, Tensor x, const std::vector<float>& host_x) {
  const MoeGeometry& g = layer.geometry();
  const int64_t tokens = x.rows();
  const auto places = static_cast<double>(tokens * g.chosen);
  const double widths = static_cast<double>(3 * g.ffn + 2 * g.hidden + g.experts);
  bench.Poison(places * widths * bench.element_bytes());
  Backend& backend = bench.backend();
  const Routing routing = layer.Route(x);
  const Tensor y =
      backend.WeightedSum(layer.Experts(x, routing, 0), routing.places, routing.weights);
  const auto out = backend.DownloadFloats(y);
  const auto experts = backend.DownloadInts(routing.experts);
  backend.ResetArena();
  if (!AllFinite(out)) return std::numeric_limits<double>::quiet_NaN();
  std::vector<float> sampled;
  std::vector<double> expected;
  for (int64_t i = 0; i < std::min(tokens, kSampledRows); ++i) {
    const int64_t row = i * (tokens - 1);
    const std::vector<float> row_x(&host_x[row * g.hidden], &host_x[row * g.hidden] + g.hidden);
    const std::span<const int32_t> chosen(&experts[row * g.chosen], g.chosen);
    if (layer.ChoiceError(row_x, chosen) > 1e-3) return std::numeric_limits<double>::infinity();
    for (const double value : layer.Reference(row_x, chosen)) expected.push_back(value);
    for (int64_t c = 0; c < MoeLayer::kColumns; ++c) {
      sampled.push_back(out[row * g.hidden + layer.Column(c)]);
    }
  }
  return RelativeError(sampled, expected);
}

void RowsOfPass(Bench& bench, MoeLayer& layer, int64_t tokens, Popularity popularity, int copies) {
  const MoeGeometry& g = layer.geometry();
  Backend& backend = bench.backend();
  const auto stream = static_cast<uint32_t>(1000 + tokens);
  const Tensor x =
      bench.Keep(bench.activations().Take(tokens * g.hidden, stream), {tokens, g.hidden});
  const auto host_x = bench.activations().TakeFloats(tokens * g.hidden, stream);
  // A routing and the experts' results that stay, for what is measured alone.
  const Routing made = layer.Route(x);
  const HostRouting host = Fetch(backend, made);
  const Routing routing = {bench.KeepCopy(made.logits),      bench.KeepCopy(made.experts),
                           bench.KeepCopy(made.weights),     bench.KeepCopy(made.expert_starts),
                           bench.KeepCopy(made.sorted_rows), bench.KeepCopy(made.places)};
  const Tensor y = bench.KeepCopy(layer.Experts(x, routing, 0));
  backend.ResetArena();

  const std::string name = PopularityName(popularity);
  if (!bench.options().routing_folder.empty()) {
    WriteRouting(
        fmt::format("{}/{}-{}-{}.txt", bench.options().routing_folder, g.name, tokens, name), g,
        tokens, host, name);
  }
  const Work work = LayerWork(bench, g, tokens, host.touched);
  const std::string detail = fmt::format("{} {} touched", name, host.touched);
  const double error = LayerError(bench, layer, x, host_x);
  bench.Add({"moe", "layer", g.name, tokens, detail, {}, work, error, bench.tolerance()}, copies,
            [&](int copy) { layer.Run(x, copy); });
  bench.Add({"moe", "experts", g.name, tokens, detail, {}, work}, copies,
            [&](int copy) { layer.Experts(x, routing, copy); });
  bench.Add({"moe", "route+combine", g.name, tokens, detail, {}, RouteWork(bench, g, tokens)}, 1,
            [&](int) {
              const Routing chosen = layer.Route(x);
              backend.WeightedSum(y, chosen.places, chosen.weights);
            });
}

}  // namespace

void MoeRows(Bench& bench) {
  for (const MoeGeometry& geometry : MoeGeometries(bench.options().smoke)) {
    const int copies = bench.Copies(geometry.chosen * geometry.elements() * bench.weight_bytes());
    MoeLayer layer(bench, geometry, copies);
    for (const int64_t tokens : geometry.tokens) {
      for (const Popularity popularity : {Popularity::kUniform, Popularity::kZipf}) {
        layer.SetPopularity(popularity);
        RowsOfPass(bench, layer, tokens, popularity, copies);
        bench.Drop();
      }
    }
  }
}

}  // namespace tessera::bench
