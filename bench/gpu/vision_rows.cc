// The layers of CLIP ViT-L/14 at 336 pixels (Radford et al. 2021, arXiv 2103.00020) as LLaVA uses
// them: 23, of rows of 577 patches.
#include <fmt/format.h>

#include "bench/gpu/bench.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

struct Tower {
  std::string name;
  int64_t layers, rows, hidden, ffn;  // rows of one image
  int heads;
  std::vector<int64_t> images;
};

Tower TowerOf(bool smoke) {
  if (smoke) return {"tiny", 2, 17, 64, 128, 4, {1, 3}};
  return {"clip-l-336", 23, 577, 1024, 4096, 16, {1, 4, 32}};
}

class Layers {
 public:
  Layers(Bench& bench, const Tower& tower)
      : bench_(bench),
        tower_(tower),
        shape_({tower.heads, tower.heads, static_cast<int>(tower.hidden / tower.heads), 0.125f}) {
    norm_.weight = bench.KeepFloats(std::vector<float>(tower.hidden, 1.0f), {tower.hidden});
    norm_.bias = bench.KeepFloats(std::vector<float>(tower.hidden, 0.01f), {tower.hidden});
    for (uint32_t i = 0; i < tower.layers; ++i) {
      layers_.push_back(
          {Pack(3 * tower.hidden, tower.hidden, 4 * i), Pack(tower.hidden, tower.hidden, 4 * i + 1),
           Pack(tower.ffn, tower.hidden, 4 * i + 2), Pack(tower.hidden, tower.ffn, 4 * i + 3)});
    }
  }

  // In place on x [images · rows, hidden].
  void Run(Tensor x, Tensor starts) {
    Backend& backend = bench_.backend();
    for (const Layer& layer : layers_) {
      const Tensor qkv = backend.Linear(backend.Norm(x, norm_), *layer.qkv);
      const Tensor attended = backend.FullAttention(qkv, shape_, starts, tower_.rows);
      const ResidualBranch branches[] = {backend.Linear(attended, *layer.out)};
      const Tensor normed = backend.AddNorm(x, branches, norm_);
      const Tensor inner = backend.Linear(normed, *layer.up, Activation::kQuickGelu);
      backend.Add(x, backend.Linear(inner, *layer.down));
    }
  }

 private:
  struct Layer {
    std::unique_ptr<PackedLinear> qkv, out, up, down;
  };

  std::unique_ptr<PackedLinear> Pack(int64_t out, int64_t in, uint32_t stream) {
    const auto weight = bench_.weights().Take(out * in, 500 + stream);
    const auto bias = bench_.weights().Take(out, 900 + stream);
    auto packed = bench_.backend().PackLinear(
        {{{DType::kBFloat16, {out, in}, weight.data()}}, {{DType::kBFloat16, {out}, bias.data()}}});
    TESSERA_CHECK_MSG(packed.ok(), packed.status().ToString());
    return *std::move(packed);
  }

  Bench& bench_;
  const Tower tower_;
  const AttentionShape shape_;
  NormWeights norm_;
  std::vector<Layer> layers_;
};

// Products of the layers and of attention; the weights and the rows' way in and out.
Work WorkOf(const Bench& bench, const Tower& t, int64_t images) {
  const auto hidden = static_cast<double>(t.hidden);
  const auto rows = static_cast<double>(images * t.rows);
  const double weights = hidden * (4 * hidden + 2 * static_cast<double>(t.ffn));
  const double attention = 4 * hidden * static_cast<double>(t.rows);
  const auto layers = static_cast<double>(t.layers);
  return {(layers * weights + 2 * rows * hidden) * bench.element_bytes(),
          layers * rows * (2 * weights + attention)};
}

}  // namespace

void VisionRows(Bench& bench) {
  const Tower tower = TowerOf(bench.options().smoke);
  Layers layers(bench, tower);
  bench.backend().Autotune();
  for (const int64_t images : tower.images) {
    const int64_t rows = images * tower.rows;
    const Tensor x =
        bench.Keep(bench.activations().Take(rows * tower.hidden, 51), {rows, tower.hidden});
    std::vector<int32_t> starts;
    for (int64_t i = 0; i <= images; ++i) {
      starts.push_back(static_cast<int32_t>(i * tower.rows));
    }
    const Tensor device_starts = bench.KeepInts(starts, {images + 1});
    Backend& backend = bench.backend();
    bench.Add({"vision",
               "layers",
               tower.name,
               rows,
               fmt::format("{} images {} layers", images, tower.layers),
               {},
               WorkOf(bench, tower, images)},
              1, [&](int) {
                const Tensor stream = backend.New(bench.dtype(), {rows, tower.hidden});
                backend.Copy(x, stream);
                layers.Run(stream, device_starts);
              });
  }
  bench.Drop();
}

}  // namespace tessera::bench
