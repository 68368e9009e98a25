#include "bench/gpu/moe.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/backend/half.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    default:
      return std::nan("");
  }
}

}  // namespace

std::vector<MoeGeometry> MoeGeometries(bool smoke) {
  if (smoke) {
    return {{"tiny-gated", 8, 64, 48, 2, Activation::kSilu, true, false, {1, 16}},
            {"tiny-biased", 4, 64, 96, 2, Activation::kGeluTanh, false, true, {1, 16}}};
  }
  const std::vector<int64_t> tokens = {1, 8, 16, 32, 128, 512, 1024, 2048, 8192};
  return {{"qwen3-30b-a3b", 128, 2048, 768, 8, Activation::kSilu, true, false, tokens},
          {"phi2-4e", 4, 2560, 10240, 2, Activation::kGeluTanh, false, true, tokens},
          {"stablelm-4e", 4, 2048, 5632, 2, Activation::kSilu, true, false, tokens}};
}

const char* PopularityName(Popularity popularity) {
  return popularity == Popularity::kUniform ? "uniform" : "zipf";
}

MoeLayer::MoeLayer(Bench& bench, const MoeGeometry& geometry, int copies)
    : bench_(bench),
      geometry_(geometry),
      up_(bench.weights(), geometry.experts * 2, geometry.ffn, geometry.hidden, 11),
      down_(bench.weights(), geometry.experts, geometry.hidden, geometry.ffn, 12),
      up_bias_(bench.weights(), geometry.experts, 1, geometry.ffn, 13),
      down_bias_(bench.weights(), geometry.experts, 1, geometry.hidden, 14) {
  Pack(copies);
  SetPopularity(Popularity::kUniform);
}

void MoeLayer::Pack(int copies) {
  const auto flat = [](HostTensor matrix) {
    matrix.dims = {matrix.dims[1]};
    return matrix;
  };
  ExpertWeights source;
  source.activation = geometry_.activation;
  source.gated = geometry_.gated;
  for (int64_t e = 0; e < geometry_.experts; ++e) {
    LinearWeights up = {{up_.matrix(2 * e)}, {}};
    LinearWeights down = {{down_.matrix(e)}, {}};
    if (geometry_.gated) up.weights.push_back(up_.matrix(2 * e + 1));
    if (geometry_.biased) {
      up.biases = {flat(up_bias_.matrix(e))};
      down.biases = {flat(down_bias_.matrix(e))};
    }
    source.up.push_back(up);
    source.down.push_back(down);
  }
  for (int c = 0; c < copies; ++c) {
    auto packed = bench_.backend().PackExperts(source);
    TESSERA_CHECK_MSG(packed.ok(), packed.status().ToString());
    packed_.push_back(*std::move(packed));
  }
  bench_.backend().Autotune();
}

RouterConfig MoeLayer::config() const {
  RouterConfig config;
  config.experts_per_token = geometry_.chosen;
  config.renormalize = true;
  return config;
}

void MoeLayer::SetPopularity(Popularity popularity) {
  // Logits of deviation 1.28, that of a Gumbel distribution, which makes the best k a sample by
  // weight.
  const float scale = 1.28f / std::sqrt(static_cast<float>(geometry_.hidden));
  router_ = bench_.activations().TakeFloats(geometry_.experts * geometry_.hidden, 21);
  for (float& value : router_) value *= scale;
  bias_.assign(geometry_.experts, 0);
  if (popularity == Popularity::kZipf) {
    for (int64_t e = 0; e < geometry_.experts; ++e) {
      const int64_t rank = (e * 37 + 5) % geometry_.experts;  // 37 is prime
      bias_[e] = -std::log(static_cast<float>(rank + 1));
    }
  }
  device_router_ = bench_.KeepFloats(router_, {geometry_.experts, geometry_.hidden});
  device_bias_ = bench_.KeepFloats(bias_, {geometry_.experts});
}

Routing MoeLayer::Route(Tensor x) {
  return bench_.backend().Route(x, device_router_, device_bias_, config(), {});
}

Tensor MoeLayer::Run(Tensor x, int copy) {
  const Routing routing = Route(x);
  return bench_.backend().WeightedSum(Experts(x, routing, copy), routing.places, routing.weights);
}

std::vector<double> MoeLayer::Logits(const std::vector<double>& x) const {
  std::vector<double> logits(bias_.begin(), bias_.end());
  for (int64_t e = 0; e < geometry_.experts; ++e) {
    for (int64_t i = 0; i < geometry_.hidden; ++i) {
      logits[e] += x[i] * router_[e * geometry_.hidden + i];
    }
  }
  return logits;
}

std::vector<double> MoeLayer::Inner(int64_t expert, const std::vector<double>& x) const {
  const int64_t hidden = geometry_.hidden;
  std::vector<double> inner(geometry_.ffn);
#pragma omp parallel for
  for (int64_t i = 0; i < geometry_.ffn; ++i) {
    double first = Dot(up_.row(2 * expert, i), x.data(), hidden);
    if (geometry_.biased) first += BFloat16ToFloat(up_bias_.row(expert, 0)[i]);
    inner[i] = Activate(geometry_.activation, first);
    if (geometry_.gated) inner[i] *= Dot(up_.row(2 * expert + 1, i), x.data(), hidden);
  }
  return inner;
}

std::vector<double> MoeLayer::Reference(const std::vector<float>& x,
                                        std::span<const int32_t> experts) const {
  const std::vector<double> wide(x.begin(), x.end());
  const auto logits = Logits(wide);
  double total = 0;
  for (const int32_t e : experts) total += std::exp(logits[e]);
  std::vector<double> y(kColumns, 0.0);
  for (const int32_t e : experts) {
    const double weight = std::exp(logits[e]) / total;
    const auto inner = Inner(e, wide);
    for (int64_t i = 0; i < kColumns; ++i) {
      double value = Dot(down_.row(e, Column(i)), inner.data(), geometry_.ffn);
      if (geometry_.biased) value += BFloat16ToFloat(down_bias_.row(e, 0)[Column(i)]);
      y[i] += weight * value;
    }
  }
  return y;
}

double MoeLayer::ChoiceError(const std::vector<float>& x, std::span<const int32_t> experts) const {
  auto logits = Logits({x.begin(), x.end()});
  double worst = logits[experts[0]];
  for (const int32_t e : experts) worst = std::min(worst, logits[e]);
  std::sort(logits.rbegin(), logits.rend());
  return std::max(0.0, logits[experts.size() - 1] - worst);
}

}  // namespace tessera::bench
