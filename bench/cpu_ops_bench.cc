// The CPU backend's products against what the machine can do, measured in the same run: dense
// layers against oneDNN with the layout that it likes best for each shape, and a mixture-of-experts
// layer against the larger of its dense products in oneDNN and one reading of the weights it
// touches. The sides of a ratio take turns, so that a busy machine slows both; medians are
// compared.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>

#include "engine/base/check.h"
#include "engine/cpu/make_cpu_backend.h"

namespace tessera {
namespace {

using DnnlType = dnnl::memory::data_type;
using DnnlTag = dnnl::memory::format_tag;

double Seconds(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Median seconds of each function, run in turns.
std::vector<double> Medians(int repetitions, const std::vector<std::function<void()>>& sides) {
  std::vector<std::vector<double>> times(sides.size());
  for (int i = -1; i < repetitions; ++i) {
    for (size_t s = 0; s < sides.size(); ++s) {
      const double seconds = Seconds(sides[s]);
      if (i >= 0) times[s].push_back(seconds);
    }
  }
  std::vector<double> medians;
  for (auto& side : times) {
    std::nth_element(side.begin(), side.begin() + side.size() / 2, side.end());
    medians.push_back(side[side.size() / 2]);
  }
  return medians;
}

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::minstd_rand generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator() % 2001) / 1e4f - 0.1f;
  return values;
}

// bfloat16 where the processor multiplies it, else float32.
DType BenchedDType() { return CpuHasNativeBFloat16() ? DType::kBFloat16 : DType::kFloat32; }

// oneDNN's own product of the benched dtype with bias, in the layouts it chooses for this very
// shape.
class OneDnnProduct {
 public:
  OneDnnProduct(int64_t m, int64_t k, int64_t n)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const dnnl::memory::desc bias({1, n}, DnnlType::f32, DnnlTag::ab);
    const dnnl::matmul::primitive_desc desc(
        dnnl::matmul::desc(Any(m, k), Any(k, n), bias, Any(m, n)), engine_);
    primitive_ = dnnl::matmul(desc);
    x_ = Filled(desc.src_desc(), m, k);
    w_ = Filled(desc.weights_desc(), k, n);
    arguments_ = {{DNNL_ARG_SRC, x_},
                  {DNNL_ARG_WEIGHTS, w_},
                  {DNNL_ARG_BIAS, Filled(bias, 1, n)},
                  {DNNL_ARG_DST, dnnl::memory(desc.dst_desc(), engine_)}};
  }
  void Run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  static dnnl::memory::desc Any(int64_t rows, int64_t cols) {
    const bool half = BenchedDType() == DType::kBFloat16;
    return {{rows, cols}, half ? DnnlType::bf16 : DnnlType::f32, DnnlTag::any};
  }
  dnnl::memory Filled(const dnnl::memory::desc& desc, int64_t rows, int64_t cols) {
    auto values = Random(rows * cols, 7);
    dnnl::memory source({{rows, cols}, DnnlType::f32, DnnlTag::ab}, engine_, values.data());
    dnnl::memory target(desc, engine_);
    dnnl::reorder(source, target).execute(stream_, source, target);
    stream_.wait();
    return target;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul primitive_;
  dnnl::memory x_, w_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

std::unique_ptr<Backend> MakeBackend(int threads) {
  auto backend = MakeCpuBackend({BenchedDType(), threads});
  TESSERA_CHECK_MSG(backend.ok(), backend.status().ToString());
  return *std::move(backend);
}

void BenchLinear(int threads) {
  const int64_t k = 2560;
  const int64_t n = 10240;
  const auto backend = MakeBackend(threads);
  const auto weight = Random(n * k, 1);
  const auto bias = Random(n, 2);
  LinearWeights source;
  source.weights = {{DType::kFloat32, {n, k}, weight.data()}};
  source.biases = {{DType::kFloat32, {n}, bias.data()}};
  const auto packed = *backend->PackLinear(source);
  fmt::print("\nLinear, {}, K {} N {}\n{:>6} {:>10} {:>10} {:>10} {:>8} {:>12}\n",
             DTypeName(BenchedDType()), k, n, "rows", "ms", "GFLOP/s", "oneDNN ms", "GFLOP/s",
             "of oneDNN");
  for (const int64_t m : {1, 8, 64, 576}) {
    const auto x = Random(m * k, 3);
    OneDnnProduct peer(m, k, n);
    const auto ours = [&] {
      backend->Linear(backend->UploadActivations(x, {m, k}), *packed);
      backend->ResetArena();
    };
    const auto medians = Medians(m > 100 ? 21 : 61, {ours, [&] { peer.Run(); }});
    const double flops = 2.0 * m * n * k;
    fmt::print("{:>6} {:>10.3f} {:>10.0f} {:>10.3f} {:>8.0f} {:>11.0f}%\n", m, medians[0] * 1e3,
               flops / medians[0] / 1e9, medians[1] * 1e3, flops / medians[1] / 1e9,
               100 * medians[1] / medians[0]);
    std::fflush(stdout);
  }
}

// Reads `bytes` of memory once, on all threads.
void ReadOnce(const std::vector<uint64_t>& memory, int64_t words, int threads) {
  uint64_t total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total)
  for (int64_t block = 0; block < words / 8; ++block) {
    const uint64_t* w = memory.data() + block * 8;
    total += w[0] + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
  }
  volatile uint64_t sink = total;
  (void)sink;
}

struct ExpertGeometry {
  int64_t experts, hidden, ffn;
  int chosen;
  Activation activation;
  bool gated;
  std::vector<int64_t> tokens;

  int64_t matrices() const { return gated ? 3 : 2; }
  // of one expert
  int64_t bytes() const {
    return matrices() * hidden * ffn * static_cast<int64_t>(DTypeBytes(BenchedDType()));
  }
};

// All experts have the same values: what is measured does not depend on them.
std::unique_ptr<PackedExperts> PackEqualExperts(Backend& backend, const ExpertGeometry& g) {
  const auto up = Random(g.ffn * g.hidden, 1);
  const auto down = Random(g.hidden * g.ffn, 2);
  const auto bias = Random(g.ffn, 3);
  ExpertWeights source;
  source.activation = g.activation;
  source.gated = g.gated;
  for (int64_t e = 0; e < g.experts; ++e) {
    LinearWeights ups = {{{DType::kFloat32, {g.ffn, g.hidden}, up.data()}}, {}};
    LinearWeights downs = {{{DType::kFloat32, {g.hidden, g.ffn}, down.data()}}, {}};
    if (g.gated) {
      ups.weights.push_back(ups.weights[0]);
    } else {
      ups.biases = {{DType::kFloat32, {g.ffn}, bias.data()}};
      downs.biases = {{DType::kFloat32, {g.hidden}, bias.data()}};
    }
    source.up.push_back(ups);
    source.down.push_back(downs);
  }
  return *backend.PackExperts(source);
}

void BenchExperts(const ExpertGeometry& g, int threads) {
  const auto backend = MakeBackend(threads);
  const auto packed = PackEqualExperts(*backend, g);
  const auto router = Random(g.experts * g.hidden, 4);
  const std::vector<uint64_t> memory(g.experts * g.bytes() / 8, 1);
  fmt::print("\nMixture of experts, {}: {} experts, top-{}, {} - {} - {}, {}\n",
             DTypeName(BenchedDType()), g.experts, g.chosen, g.hidden, g.ffn, g.hidden,
             g.gated ? "gated silu" : "gelu, biases");
  fmt::print("{:>7} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>14}\n", "tokens", "touched", "ms",
             "GFLOP/s", "dense ms", "read ms", "of floor", "route, combine");
  RouterConfig config;
  config.experts_per_token = g.chosen;
  config.renormalize = true;
  for (const int64_t tokens : g.tokens) {
    const auto x = Random(tokens * g.hidden, 5 + static_cast<uint32_t>(tokens));
    int64_t touched = 0;
    double around = 0;  // seconds of routing, sorting and combining
    int layers = 0;
    const auto ours = [&] {
      Tensor input = backend->UploadActivations(x, {tokens, g.hidden});
      const Tensor router_rows = backend->Upload(router, {g.experts, g.hidden});
      Routing routing;
      around += Seconds([&] { routing = backend->Route(input, router_rows, {}, config, {}); });
      const Tensor y = backend->ExpertFfn(input, *packed, routing);
      around += Seconds([&] { backend->WeightedSum(y, routing.places, routing.weights); });
      ++layers;
      touched = 0;
      for (int64_t e = 0; e < g.experts; ++e) {
        const auto* starts = routing.expert_starts.as<int32_t>();
        touched += starts[e + 1] > starts[e];
      }
      backend->ResetArena();
    };
    ours();
    around = layers = 0;
    OneDnnProduct dense_up(g.chosen * tokens, g.hidden, (g.matrices() - 1) * g.ffn);
    OneDnnProduct dense_down(g.chosen * tokens, g.ffn, g.hidden);
    const auto dense = [&] {
      dense_up.Run();
      dense_down.Run();
    };
    const int64_t words = touched * g.bytes() / 8;
    const auto medians =
        Medians(tokens > 100 ? 11 : 31, {ours, dense, [&] { ReadOnce(memory, words, threads); }});
    const double flops = 2.0 * g.chosen * tokens * g.matrices() * g.hidden * g.ffn;
    fmt::print("{:>7} {:>8} {:>10.2f} {:>10.0f} {:>10.2f} {:>10.2f} {:>9.2f}x {:>13.1f}%\n", tokens,
               touched, medians[0] * 1e3, flops / medians[0] / 1e9, medians[1] * 1e3,
               medians[2] * 1e3, medians[0] / std::max(medians[1], medians[2]),
               100 * around / layers / medians[0]);
    std::fflush(stdout);
  }
}

// MoE-LLaVA on Phi-2, and Qwen3-30B-A3B.
const ExpertGeometry kExpertGeometries[] = {
    {4, 2560, 10240, 2, Activation::kGeluTanh, false, {1, 8, 64, 576}},
    {128, 2048, 768, 8, Activation::kSilu, true, {1, 8, 64, 512}},
};

void BenchVisionAttention(int threads) {
  const AttentionShape shape = {16, 16, 64, 0.125f};
  const int64_t rows = 577;
  const auto backend = MakeBackend(threads);
  const auto qkv = Random(rows * 3 * 1024, 1);
  const std::vector<int32_t> starts = {0, static_cast<int32_t>(rows)};
  const auto medians =
      Medians(21, {[&] {
                backend->FullAttention(backend->UploadActivations(qkv, {rows, 3 * 1024}), shape,
                                       backend->Upload(starts, {2}), rows);
                backend->ResetArena();
              }});
  fmt::print("\nFull attention, {}, 577 rows, 16 heads of 64: {:.2f} ms, {:.0f} GFLOP/s\n",
             DTypeName(BenchedDType()), medians[0] * 1e3,
             4.0 * rows * rows * 1024 / medians[0] / 1e9);
}

}  // namespace
}  // namespace tessera

int main() {
  const int threads = omp_get_num_procs();
  fmt::print("{} threads\n", threads);
  tessera::BenchLinear(threads);
  for (const auto& geometry : tessera::kExpertGeometries) tessera::BenchExperts(geometry, threads);
  tessera::BenchVisionAttention(threads);
}
