// A mixture-of-experts layer at a published geometry, with random weights, and its reference in
// double.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/gpu/bench.h"

namespace tessera::bench {

struct MoeGeometry {
  std::string name;
  int64_t experts;
  int64_t hidden;
  int64_t ffn;
  int chosen;  // experts per token
  Activation activation;
  bool gated;
  bool biased;
  std::vector<int64_t> tokens;  // rows of a pass, each measured

  int64_t matrices() const { return gated ? 3 : 2; }
  double elements() const {
    return static_cast<double>(matrices() * hidden * ffn);
  }  // of one expert
};

// Qwen3-30B-A3B, MoE-LLaVA on Phi-2 and on StableLM-2 1.6B.
std::vector<MoeGeometry> MoeGeometries(bool smoke);

// How routers choose: alike, or by Zipf's law (expert of rank r with weight 1 / r before the token
// has its say).
enum class Popularity { kUniform, kZipf };
const char* PopularityName(Popularity popularity);

class MoeLayer {
 public:
  // `copies` of the experts in the device's memory, equal in value.
  MoeLayer(Bench& bench, const MoeGeometry& geometry, int copies);

  const MoeGeometry& geometry() const { return geometry_; }
  RouterConfig config() const;
  // Router [E, hidden] and bias [E] that choose so.
  void SetPopularity(Popularity popularity);
  Routing Route(Tensor x);
  Tensor Experts(Tensor x, const Routing& routing, int copy) {
    return bench_.backend().ExpertFfn(x, *packed_[copy], routing);
  }
  Tensor Run(Tensor x, int copy);

  // The layer's output [kColumns] for one row at columns spread evenly; `experts` is what the
  // device chose.
  static constexpr int64_t kColumns = 64;
  std::vector<double> Reference(const std::vector<float>& x,
                                std::span<const int32_t> experts) const;
  int64_t Column(int64_t i) const { return i * geometry_.hidden / kColumns; }
  // How far the worst of `experts` lies below the k-th best logit in double: 0 where the choice is
  // right.
  double ChoiceError(const std::vector<float>& x, std::span<const int32_t> experts) const;

 private:
  void Pack(int copies);
  std::vector<double> Logits(const std::vector<double>& x) const;
  // act(up x) of one expert [ffn].
  std::vector<double> Inner(int64_t expert, const std::vector<double>& x) const;

  Bench& bench_;
  const MoeGeometry geometry_;
  MatrixFamily up_;    // a gated expert's gate and up are 2e and 2e + 1
  MatrixFamily down_;  // [hidden, ffn]
  MatrixFamily up_bias_;
  MatrixFamily down_bias_;
  std::vector<std::unique_ptr<PackedExperts>> packed_;
  std::vector<float> router_;
  std::vector<float> bias_;
  Tensor device_router_;
  Tensor device_bias_;
};

}  // namespace tessera::bench
