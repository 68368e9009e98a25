// What low-rank experts cost: decoder layers of a 7B Llama (hidden 4096, 32 heads, FFN 11008) with
// three LoRA experts of rank 32 beside every matrix of the FFN, against the same layers without, in
// one run, bfloat16. The sides take turns, and the fastest turns are compared, so that what else
// the machine does counts little.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>

#include "engine/base/check.h"
#include "engine/cpu/make_cpu_backend.h"

namespace tessera {
namespace {

constexpr int64_t kLayers = 3;
constexpr int64_t kHidden = 4096;
constexpr int64_t kFfn = 11008;
constexpr int64_t kHeads = 32;
constexpr int64_t kHeadDim = kHidden / kHeads;
constexpr int64_t kExperts = 3;
constexpr int64_t kRank = 32;
constexpr int64_t kBlock = 16;
constexpr int64_t kMaxContext = 1024;
constexpr int64_t kSequences = 8;

using Side = std::function<void()>;

std::vector<float> Random(int64_t count, float scale) {
  std::minstd_rand generator(1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = scale * (static_cast<float>(generator() % 2001) / 1e3f - 1);
  return values;
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  TESSERA_CHECK_MSG(value.ok(), value.status().ToString());
  return *std::move(value);
}

// Seconds of each side's fastest turn; the first turn is not counted.
std::vector<double> Fastest(int turns, const std::vector<Side>& sides) {
  std::vector<double> fastest(sides.size(), std::numeric_limits<double>::infinity());
  for (int i = -1; i < turns; ++i) {
    for (size_t s = 0; s < sides.size(); ++s) {
      const auto start = std::chrono::steady_clock::now();
      sides[s]();
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
      if (i >= 0) fastest[s] = std::min(fastest[s], passed.count());
    }
  }
  return fastest;
}

struct Layer {
  std::unique_ptr<PackedLinear> qkv, out, up, down;
  std::unique_ptr<PackedLora> lora_up, lora_down;
};

class Layers {
 public:
  Layers() : backend_(Value(MakeCpuBackend({DType::kBFloat16, omp_get_num_procs()}))) {
    const std::vector<float> values = Random(2 * kFfn * kHidden, 0.02f);
    for (int64_t i = 0; i < kLayers; ++i) Pack(values);
    const int64_t blocks = kSequences * kMaxContext / kBlock;
    keys_ = Value(backend_->Allocate(DType::kBFloat16, {blocks, kHeads, kBlock, kHeadDim}));
    values_ = Value(backend_->Allocate(DType::kBFloat16, {blocks, kHeads, kBlock, kHeadDim}));
    const std::vector<float> ones(kHidden, 1.0f);
    norm_weight_ =
        Value(backend_->Load({DType::kFloat32, {kHidden}, ones.data()}, DType::kFloat32));
    const std::vector<int32_t> axes(kHeadDim / 2, 0);
    pair_axis_ = Value(backend_->Load({DType::kInt32, {kHeadDim / 2}, axes.data()}, DType::kInt32));
    turns_ = Value(backend_->Load({DType::kFloat32, {kMaxContext, kHeadDim / 2}, values.data()},
                                  DType::kFloat32));
    router_ = Value(
        backend_->Load({DType::kFloat32, {kExperts, kHidden}, values.data()}, DType::kFloat32));
  }

  // One pass of `sequences` sequences with `rows` new rows each behind `cached` others. `choices`
  // of the experts, 0: without them.
  void Run(int64_t sequences, int64_t cached, int64_t rows, int choices) {
    const PagedBatch batch = MakeBatch(sequences, cached, rows);
    Tensor x = backend_->UploadActivations(Random(sequences * rows * kHidden, 1.0f),
                                           {sequences * rows, kHidden});
    const NormWeights norm = {NormKind::kRmsNorm, 1e-5f, norm_weight_->tensor(), {}};
    const AttentionShape shape = {kHeads, kHeads, kHeadDim,
                                  1.0f / std::sqrt(static_cast<float>(kHeadDim))};
    const Rope rope = {turns_->tensor(), turns_->tensor(), pair_axis_->tensor()};
    const KvLayer kv = {keys_->tensor(), values_->tensor(), {}, {}};
    Tensor normed = backend_->Norm(x, norm);
    for (const Layer& layer : layers_) {
      const Tensor qkv = backend_->Linear(normed, *layer.qkv);
      backend_->RopeWriteKv(qkv, shape, {}, rope, batch, kv);
      const Tensor attention =
          backend_->Linear(backend_->PagedAttention(qkv, shape, batch, kv), *layer.out);
      normed = backend_->AddNorm(x, std::array<ResidualBranch, 1>{attention}, norm);
      normed =
          backend_->AddNorm(x, std::array<ResidualBranch, 1>{Ffn(layer, normed, choices)}, norm);
    }
    backend_->ResetArena();
  }

 private:
  static HostTensor Host(const std::vector<float>& values, int64_t rows, int64_t cols) {
    return {DType::kFloat32, {rows, cols}, values.data()};
  }

  void Pack(const std::vector<float>& values) {
    Layer layer;
    const LinearWeights up = {{Host(values, kFfn, kHidden), Host(values, kFfn, kHidden)}, {}};
    const LinearWeights down = {{Host(values, kHidden, kFfn)}, {}};
    layer.qkv = Value(backend_->PackLinear({{Host(values, 3 * kHidden, kHidden)}, {}}));
    layer.out = Value(backend_->PackLinear({{Host(values, kHidden, kHidden)}, {}}));
    layer.up = Value(backend_->PackLinear(up));
    layer.down = Value(backend_->PackLinear(down));
    LoraWeights lora_up = {up, {}, {}, 2};
    LoraWeights lora_down = {down, {}, {}, 2};
    for (int64_t e = 0; e < kExperts; ++e) {
      lora_up.a.push_back({{Host(values, kRank, kHidden), Host(values, kRank, kHidden)}, {}});
      lora_up.b.push_back({{Host(values, kFfn, kRank), Host(values, kFfn, kRank)}, {}});
      lora_down.a.push_back({{Host(values, kRank, kFfn)}, {}});
      lora_down.b.push_back({{Host(values, kHidden, kRank)}, {}});
    }
    layer.lora_up = Value(backend_->PackLora(lora_up));
    layer.lora_down = Value(backend_->PackLora(lora_down));
    layers_.push_back(std::move(layer));
  }

  PagedBatch MakeBatch(int64_t sequences, int64_t cached, int64_t rows) {
    std::vector<int32_t> starts = {0}, contexts, tables, positions, slots;
    for (int64_t s = 0; s < sequences; ++s) {
      starts.push_back(starts.back() + static_cast<int32_t>(rows));
      contexts.push_back(static_cast<int32_t>(cached + rows));
      for (int64_t b = 0; b < kMaxContext / kBlock; ++b) {
        tables.push_back(static_cast<int32_t>(s * kMaxContext / kBlock + b));
      }
      for (int64_t i = cached; i < cached + rows; ++i) {
        positions.push_back(static_cast<int32_t>(i));
        slots.push_back(static_cast<int32_t>(s * kMaxContext + i));
      }
    }
    PagedBatch batch;
    batch.query_starts = backend_->Upload(starts, {sequences + 1});
    batch.context_lengths = backend_->Upload(contexts, {sequences});
    batch.block_tables = backend_->Upload(tables, {sequences, kMaxContext / kBlock});
    batch.positions = backend_->Upload(positions, {1, sequences * rows});
    batch.slots = backend_->Upload(slots, {sequences * rows});
    batch.max_query = rows;
    batch.max_context = cached + rows;
    return batch;
  }

  Tensor Ffn(const Layer& layer, Tensor normed, int choices) {
    if (choices == 0) {
      return backend_->Linear(
          backend_->GatedActivate(backend_->Linear(normed, *layer.up), Activation::kSilu),
          *layer.down);
    }
    RouterConfig config;
    config.experts_per_token = choices;
    config.renormalize = choices == 1;
    const Routing routing = backend_->Route(normed, router_->tensor(), {}, config, {});
    const Tensor up = backend_->LoraLinear(normed, *layer.lora_up, routing);
    return backend_->LoraLinear(backend_->GatedActivate(up, Activation::kSilu), *layer.lora_down,
                                routing);
  }

  std::unique_ptr<Backend> backend_;
  std::vector<Layer> layers_;
  std::unique_ptr<Buffer> keys_, values_, turns_, pair_axis_, norm_weight_, router_;
};

void Bench() {
  Layers layers;
  struct Case {
    const char* name;
    int64_t sequences, cached, rows;
    int turns;
  };
  const Case cases[] = {{"prefill, 1 sequence of 700 rows", 1, 0, 700, 9},
                        {"prefill, a chunk of 128 rows after 512", 1, 512, 128, 21},
                        {"decode, 8 sequences of 700 rows", 8, 700, 1, 61},
                        {"decode, 1 sequence of 700 rows", 1, 700, 1, 61}};
  fmt::print("{:<40} {:>9} {:>9} {:>7} {:>9} {:>7}\n", fmt::format("{} layers", kLayers), "base ms",
             "top-1 ms", "ratio", "dense ms", "ratio");
  for (const Case& c : cases) {
    const auto side = [&](int choices) {
      return [&layers, &c, choices] { layers.Run(c.sequences, c.cached, c.rows, choices); };
    };
    const std::vector<double> times = Fastest(c.turns, {side(0), side(1), side(kExperts)});
    fmt::print("{:<40} {:>9.2f} {:>9.2f} {:>6.3f}x {:>9.2f} {:>6.3f}x\n", c.name, times[0] * 1e3,
               times[1] * 1e3, times[1] / times[0], times[2] * 1e3, times[2] / times[0]);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace tessera

int main() {
  if (!tessera::CpuHasNativeBFloat16()) {
    fmt::print("this processor has no bfloat16 products\n");
    return 0;
  }
  fmt::print("{} threads\n", omp_get_num_procs());
  tessera::Bench();
}
