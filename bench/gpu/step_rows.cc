// A run of decoder layers of Qwen3-30B-A3B, from hidden rows to hidden rows: what a step of the
// engine asks of the device, without embedding, head and sampling.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "bench/gpu/bench.h"
#include "bench/gpu/cache.h"
#include "bench/gpu/moe.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

struct Geometry {
  MoeGeometry moe;
  AttentionShape shape;
  int layers;
  int of_layers;  // that the model has
};
struct Pass {
  int64_t sequences, context, rows;
};

Geometry GeometryOf(bool smoke) {
  if (smoke) return {MoeGeometries(true)[0], {8, 2, 16, 0.25f}, 3, 3};
  return {MoeGeometries(false)[0], {32, 4, 128, 1 / std::sqrt(128.0f)}, 6, 48};
}

std::vector<Pass> Passes(bool smoke) {
  if (smoke) return {{2, 30, 1}, {2, 9, 9}};
  return {{1, 1024, 1}, {8, 1024, 1}, {32, 1024, 1}, {128, 1024, 1}, {16, 640, 640}};
}

class Decoder {
 public:
  Decoder(Bench& bench, const Geometry& geometry)
      : bench_(bench), geometry_(geometry), moe_(bench, geometry.moe, geometry.layers) {
    for (int i = 0; i < geometry.layers; ++i) {
      layers_.push_back({Pack(QkvWidth(), geometry.moe.hidden, 2 * i),
                         Pack(geometry.moe.hidden, AttentionWidth(), 2 * i + 1)});
    }
  }

  int64_t AttentionWidth() const {
    return int64_t{geometry_.shape.heads} * geometry_.shape.head_dim;
  }
  int64_t QkvWidth() const {
    return AttentionWidth() + 2 * int64_t{geometry_.shape.kv_heads} * geometry_.shape.head_dim;
  }

  // What lives as long as a pass: to be kept anew after Bench::Drop().
  void Keep(int64_t max_position) {
    moe_.SetPopularity(Popularity::kUniform);
    norm_.kind = NormKind::kRmsNorm;
    norm_.weight =
        bench_.KeepFloats(std::vector<float>(geometry_.moe.hidden, 1.0f), {geometry_.moe.hidden});
    NormWeights head = norm_;
    head.weight = bench_.KeepFloats(std::vector<float>(geometry_.shape.head_dim, 1.0f),
                                    {geometry_.shape.head_dim});
    head_norms_ = {head, head};
    const int64_t pairs = geometry_.shape.head_dim / 2;
    std::vector<float> cosine(max_position * pairs), sine(cosine.size());
    for (size_t i = 0; i < cosine.size(); ++i) {
      const double turn =
          static_cast<double>(i / pairs) * std::pow(1e6, -double(i % pairs) / pairs);
      cosine[i] = static_cast<float>(std::cos(turn));
      sine[i] = static_cast<float>(std::sin(turn));
    }
    rope_ = {bench_.KeepFloats(cosine, {max_position, pairs}),
             bench_.KeepFloats(sine, {max_position, pairs}),
             bench_.KeepInts(std::vector<int32_t>(pairs, 0), {pairs})};
  }

  // In place on x. Adds each layer's Routing::experts to `chosen` where it is not null.
  void Run(Tensor x, const FilledCache& cache, const std::vector<KvLayer>& kv,
           std::vector<Tensor>* chosen) {
    Backend& backend = bench_.backend();
    Tensor normed = backend.Norm(x, norm_);
    for (int i = 0; i < geometry_.layers; ++i) {
      const Tensor qkv = backend.Linear(normed, *layers_[i].qkv);
      backend.RopeWriteKv(qkv, geometry_.shape, head_norms_, rope_, cache.batch(), kv[i]);
      const Tensor attended = backend.PagedAttention(qkv, geometry_.shape, cache.batch(), kv[i]);
      const ResidualBranch attention[] = {backend.Linear(attended, *layers_[i].out)};
      normed = backend.AddNorm(x, attention, norm_);
      const Routing routing = moe_.Route(normed);
      if (chosen != nullptr) chosen->push_back(routing.experts);
      const ResidualBranch experts[] = {{moe_.Experts(normed, routing, i), routing}};
      normed = backend.AddNorm(x, experts, norm_);
    }
  }

 private:
  struct Layer {
    std::unique_ptr<PackedLinear> qkv, out;
  };

  std::unique_ptr<PackedLinear> Pack(int64_t out, int64_t in, uint32_t stream) {
    const auto weight = bench_.weights().Take(out * in, 700 + stream);
    auto packed = bench_.backend().PackLinear({{{DType::kBFloat16, {out, in}, weight.data()}}, {}});
    TESSERA_CHECK_MSG(packed.ok(), packed.status().ToString());
    return *std::move(packed);
  }

  Bench& bench_;
  const Geometry geometry_;
  MoeLayer moe_;
  std::vector<Layer> layers_;
  NormWeights norm_;
  HeadNorms head_norms_;
  Rope rope_;
};

// All bytes and all products together: less than a chain of operations can reach, since parts that
// are bound by one do not hide parts bound by the other. `touched` experts in all layers.
Work WorkOf(Bench& bench, const Decoder& decoder, const Geometry& g, const Pass& pass,
            double cache_bytes, int64_t touched) {
  const auto rows = static_cast<double>(pass.sequences * pass.rows);
  const auto attention = static_cast<double>(decoder.AttentionWidth());
  const double dense =
      static_cast<double>(g.moe.hidden) * (static_cast<double>(decoder.QkvWidth()) + attention);
  const double seen = static_cast<double>(pass.context) - (static_cast<double>(pass.rows) - 1) / 2;
  const double flops =
      rows * (2 * dense + 2 * g.moe.chosen * g.moe.elements() + 4 * attention * seen);
  const double weights = g.layers * dense + static_cast<double>(touched) * g.moe.elements();
  return {weights * bench.weight_bytes() + g.layers * cache_bytes, g.layers * flops};
}

void RowOfPass(Bench& bench, Decoder& decoder, const Geometry& g, const Pass& pass) {
  decoder.Keep(pass.context);
  FilledCache cache(bench, g.shape, pass.sequences, pass.context, pass.rows);
  std::vector<KvLayer> kv;
  for (int i = 0; i < g.layers; ++i) kv.push_back(cache.NewLayer());
  const int64_t rows = pass.sequences * pass.rows;
  const Tensor x =
      bench.Keep(bench.activations().Take(rows * g.moe.hidden, 61), {rows, g.moe.hidden});
  Backend& backend = bench.backend();
  const auto run = [&](std::vector<Tensor>* chosen) {
    const Tensor stream = backend.New(bench.dtype(), {rows, g.moe.hidden});
    backend.Copy(x, stream);
    decoder.Run(stream, cache, kv, chosen);
    return stream;
  };
  std::vector<Tensor> chosen;
  const auto out = backend.DownloadFloats(run(&chosen));
  TESSERA_CHECK_MSG(AllFinite(out), "a step's result is not finite");
  int64_t touched = 0;
  for (const Tensor& experts : chosen) {
    const auto ids = backend.DownloadInts(experts);
    touched += std::ssize(std::set<int32_t>(ids.begin(), ids.end()));
  }
  backend.ResetArena();
  bench.Add({"step",
             pass.rows == 1 ? "decode" : "prefill",
             g.moe.name,
             rows,
             fmt::format("batch {} context {}: {} of {} layers", pass.sequences, pass.context,
                         g.layers, g.of_layers),
             {},
             WorkOf(bench, decoder, g, pass, cache.bytes(), touched)},
            1, [&](int) { run(nullptr); });
  bench.Drop();
}

}  // namespace

void StepRows(Bench& bench) {
  const Geometry geometry = GeometryOf(bench.options().smoke);
  Decoder decoder(bench, geometry);
  bench.backend().Autotune();
  for (const Pass& pass : Passes(bench.options().smoke)) {
    RowOfPass(bench, decoder, geometry, pass);
  }
}

}  // namespace tessera::bench
