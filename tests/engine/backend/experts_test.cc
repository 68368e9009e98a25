// Routing, the experts' layers and their weighted sum on every device.
#include <cmath>
#include <cstring>

#include "engine/model/router_noise.h"
#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

class ExpertsTest : public BackendTest {
 protected:
  struct Layer {
    std::vector<std::vector<float>> up, up_bias, down, down_bias;
    std::unique_ptr<PackedExperts> packed;
  };

  Layer MakeLayer(int64_t experts, int64_t hidden, int64_t ffn, Activation activation, bool gated,
                  bool biased) {
    Layer layer;
    const int64_t up_rows = gated ? 2 * ffn : ffn;
    ExpertWeights source;
    source.activation = activation;
    source.gated = gated;
    for (int64_t e = 0; e < experts; ++e) {
      layer.up.push_back(Random(up_rows * hidden, 100 + e, 0.2f));
      layer.down.push_back(Random(hidden * ffn, 200 + e, 0.2f));
      layer.up_bias.push_back(biased ? Random(up_rows, 300 + e) : std::vector<float>());
      layer.down_bias.push_back(biased ? Random(hidden, 400 + e) : std::vector<float>());
    }
    for (int64_t e = 0; e < experts; ++e) {
      source.up.push_back({{Host(layer.up[e], {up_rows, hidden})}, {}});
      source.down.push_back({{Host(layer.down[e], {hidden, ffn})}, {}});
      if (!biased) continue;
      source.up[e].biases = {Host(layer.up_bias[e], {up_rows})};
      source.down[e].biases = {Host(layer.down_bias[e], {hidden})};
    }
    auto packed = backend().PackExperts(source);
    EXPECT_TRUE(packed.ok()) << packed.status().ToString();
    layer.packed = *std::move(packed);
    return layer;
  }

  // A routing with the given choices [rows, k], through Route itself: one-hot rows and a router of
  // large entries.
  Routing RouteTo(const std::vector<std::vector<int32_t>>& choices, int64_t experts) {
    const auto rows = static_cast<int64_t>(choices.size());
    const auto k = static_cast<int64_t>(choices[0].size());
    std::vector<float> x(rows * experts, 0.0f);
    std::vector<float> router(experts * experts, 0.0f);
    for (int64_t e = 0; e < experts; ++e) router[e * experts + e] = 1;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < k; ++j) {
        x[t * experts + choices[t][j]] = 4.0f - 0.25f * static_cast<float>(j);
      }
    }
    RouterConfig config;
    config.experts_per_token = static_cast<int>(k);
    config.renormalize = true;
    return backend().Route(backend().UploadActivations(x, {rows, experts}),
                           backend().Upload(router, {experts, experts}), {}, config, {});
  }
};

TEST_P(ExpertsTest, RoutesTheWorkedExample) {
  const Routing routing = RouteTo({{0, 2}, {2, 1}, {0, 1}}, 3);
  EXPECT_EQ(backend().DownloadInts(routing.experts), (std::vector<int32_t>{0, 2, 2, 1, 0, 1}));
  EXPECT_EQ(backend().DownloadInts(routing.expert_starts), (std::vector<int32_t>{0, 2, 4, 6}));
  EXPECT_EQ(backend().DownloadInts(routing.sorted_rows), (std::vector<int32_t>{0, 2, 1, 2, 0, 1}));
  EXPECT_EQ(backend().DownloadInts(routing.places), (std::vector<int32_t>{0, 4, 5, 2, 1, 3}));
}

TEST_P(ExpertsTest, RouteMatchesReference) {
  for (const int k : {1, 2, 8}) {
    for (const int64_t experts : {8, 13, 128, 512}) {
      for (const bool noisy : {false, true}) {
        SCOPED_TRACE(experts);
        const int64_t rows = 23;
        const int64_t hidden = 83;
        const auto x = Random(rows * hidden, 1);
        const auto router = RandomFloats(experts * hidden, 2, 0.3f, DType::kFloat32);
        const auto bias = RandomFloats(experts, 3, 0.5f, DType::kFloat32);
        const auto noise = RandomFloats(rows * experts, 4, 2.0f, DType::kFloat32);
        RouterConfig config;
        config.experts_per_token = k;
        config.renormalize = noisy;
        const Routing routing =
            backend().Route(backend().UploadActivations(x, {rows, hidden}),
                            Keep(router, {experts, hidden}, DType::kFloat32),
                            Keep(bias, {experts}, DType::kFloat32), config,
                            noisy ? backend().Upload(noise, {rows, experts}) : Tensor());
        const auto expected =
            reference::Route(Widen(x), Widen(router), Widen(bias),
                             noisy ? Widen(noise) : reference::Values(), hidden, experts, config);
        EXPECT_TRUE(Near(backend().DownloadFloats(routing.logits), expected.logits, 1e-6));
        EXPECT_EQ(backend().DownloadInts(routing.experts), expected.experts);
        EXPECT_TRUE(Near(backend().DownloadFloats(routing.weights), expected.weights, tolerance()));
        EXPECT_EQ(backend().DownloadInts(routing.expert_starts), expected.starts);
        EXPECT_EQ(backend().DownloadInts(routing.sorted_rows), expected.sorted);
        EXPECT_EQ(backend().DownloadInts(routing.places), expected.places);
      }
    }
  }
}

// The first expert has the largest logit whatever the noise; the second is expert e as often as the
// softmax of the other logits says, and a row's choice is its own, whoever is beside it.
TEST_P(ExpertsTest, GumbelNoiseDrawsTheSecondExpertFromTheSoftmaxOfTheRest) {
  constexpr int64_t kRows = 6000;
  constexpr int64_t kPart = 700;
  const std::vector<float> logits = {0.5f, 2.0f, -0.5f, 1.0f, 0.0f};
  const auto experts = static_cast<int64_t>(logits.size());
  std::vector<float> router(experts * experts, 0.0f);
  for (int64_t e = 0; e < experts; ++e) router[e * experts + e] = 1;
  std::vector<uint64_t> seeds;
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < kRows; ++t) {  // of three requests
    seeds.push_back(7 + t % 3);
    positions.push_back(t / 3);
  }
  RouterConfig config;
  config.experts_per_token = 2;
  const auto choose = [&](int64_t begin, int64_t rows) {
    std::vector<float> x;
    for (int64_t t = 0; t < rows; ++t) x.insert(x.end(), logits.begin(), logits.end());
    const std::vector<float> noise = GumbelNoise(std::span(seeds).subspan(begin, rows),
                                                 std::span(positions).subspan(begin, rows),
                                                 /*layer=*/3, static_cast<int>(experts));
    const Routing routing = backend().Route(backend().UploadActivations(x, {rows, experts}),
                                            backend().Upload(router, {experts, experts}), {},
                                            config, backend().Upload(noise, {rows, experts}));
    return backend().DownloadInts(routing.experts);
  };

  const std::vector<int32_t> chosen = choose(0, kRows);
  std::vector<int> counts(logits.size(), 0);
  for (int64_t t = 0; t < kRows; ++t) {
    ASSERT_EQ(chosen[2 * t], 1);
    ++counts[chosen[2 * t + 1]];
  }
  EXPECT_EQ(counts[1], 0);
  double total = 0;
  for (const int e : {0, 2, 3, 4}) total += std::exp(logits[e]);
  double chi_square = 0;
  for (const int e : {0, 2, 3, 4}) {
    const double expected = kRows * std::exp(logits[e]) / total;
    chi_square += (counts[e] - expected) * (counts[e] - expected) / expected;
  }
  EXPECT_LT(chi_square, 16.3);  // 3 degrees of freedom, p = 0.001
  EXPECT_EQ(choose(kPart, kPart),
            std::vector(chosen.begin() + 2 * kPart, chosen.begin() + 4 * kPart));
}

TEST_P(ExpertsTest, TiesGoToTheLowerExpert) {
  const std::vector<float> x(4 * 16, 0.0f);  // all logits equal
  const auto router = RandomFloats(8 * 16, 1, 1.0f, DType::kFloat32);
  RouterConfig config;
  config.experts_per_token = 3;
  const Routing routing = backend().Route(backend().UploadActivations(x, {4, 16}),
                                          Keep(router, {8, 16}, DType::kFloat32), {}, config, {});
  for (int t = 0; t < 4; ++t) {
    const auto chosen = backend().DownloadInts(routing.experts);
    for (int j = 0; j < 3; ++j) EXPECT_EQ(chosen[t * 3 + j], j);
  }
  for (float weight : backend().DownloadFloats(routing.weights)) EXPECT_EQ(weight, 0.125f);
}

TEST_P(ExpertsTest, MatchesReference) {
  struct Case {
    int64_t experts, hidden, ffn;
    Activation activation;
    bool gated, biased;
    std::vector<std::vector<int32_t>> choices;
  };
  const Case cases[] = {
      {4, 80, 200, Activation::kGeluTanh, false, true, {{0, 1}, {3, 0}, {1, 3}, {0, 3}, {1, 0}}},
      {3, 128, 96, Activation::kSilu, true, false, {{2}, {2}, {2}, {2}, {2}, {2}, {2}}},
      {9, 64, 33, Activation::kSilu, true, true, {{8, 7, 6, 5, 4, 3, 2, 1}}},
      {2, 1100, 1200, Activation::kGeluErf, false, true, {{1, 0}, {0, 1}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.hidden);
    const Layer layer = MakeLayer(c.experts, c.hidden, c.ffn, c.activation, c.gated, c.biased);
    EXPECT_EQ(layer.packed->ffn, c.ffn);
    const auto rows = static_cast<int64_t>(c.choices.size());
    const auto x = Random(rows * c.hidden, 7);
    const Routing routing = RouteTo(c.choices, c.experts);
    Tensor y = backend().ExpertFfn(backend().UploadActivations(x, {rows, c.hidden}), *layer.packed,
                                   routing);
    const auto places = backend().DownloadInts(routing.places);
    const auto weights = backend().DownloadFloats(routing.weights);
    const size_t k = c.choices[0].size();
    reference::Values expected(y.elements()), combined(rows * c.hidden, 0.0);
    for (int64_t t = 0; t < rows; ++t) {
      const reference::Values row(x.begin() + t * c.hidden, x.begin() + (t + 1) * c.hidden);
      for (size_t j = 0; j < k; ++j) {
        const int32_t e = c.choices[t][j];
        const reference::Expert expert = {Kept(layer.up[e], c.hidden), Widen(layer.up_bias[e]),
                                          Kept(layer.down[e], c.ffn), Widen(layer.down_bias[e])};
        const auto inner = reference::ExpertUp(Rows(row, c.hidden), expert, c.hidden, c.ffn,
                                               c.activation, c.gated);
        const auto out = reference::ExpertDown(Rows(inner, c.ffn), expert, c.hidden, c.ffn);
        std::copy(out.begin(), out.end(), expected.begin() + places[t * k + j] * c.hidden);
        for (int64_t i = 0; i < c.hidden; ++i) {
          combined[t * c.hidden + i] += weights[t * k + j] * out[i];
        }
      }
    }
    EXPECT_TRUE(Near(backend().DownloadFloats(y), expected, 3 * tolerance()));
    EXPECT_TRUE(
        Near(backend().DownloadFloats(backend().WeightedSum(y, routing.places, routing.weights)),
             combined, 3 * tolerance()));
  }
}

TEST_P(ExpertsTest, WeightedSumRoundsOnce) {
  const int64_t hidden = 100;
  const Routing routing = RouteTo({{0, 2}, {2, 1}, {0, 1}}, 3);
  const auto y = Random(6 * hidden, 1);
  const auto weights = backend().DownloadFloats(routing.weights);
  const auto places = backend().DownloadInts(routing.places);
  reference::Values expected(3 * hidden, 0.0);
  for (int64_t t = 0; t < 3; ++t) {
    for (int j = 0; j < 2; ++j) {
      for (int64_t i = 0; i < hidden; ++i) {
        expected[t * hidden + i] += double{weights[t * 2 + j]} * y[places[t * 2 + j] * hidden + i];
      }
    }
  }
  Tensor combined = backend().WeightedSum(backend().UploadActivations(y, {6, hidden}),
                                          routing.places, routing.weights);
  EXPECT_TRUE(Near(backend().DownloadFloats(combined), expected, tolerance()));
}

// What is combined on the way to a sum has the bits of what is combined before it.
TEST_P(ExpertsTest, AddNormSumsRoutedRows) {
  for (const int64_t hidden : {int64_t{100}, int64_t{1032}}) {
    const Routing routing = RouteTo({{0, 2}, {2, 1}, {0, 1}}, 3);
    const auto x = Random(3 * hidden, 1);
    const Tensor y = backend().UploadActivations(Random(6 * hidden, 2), {6, hidden});
    const Tensor beside = backend().UploadActivations(Random(3 * hidden, 3), {3, hidden});
    NormWeights norm;
    norm.kind = NormKind::kRmsNorm;
    norm.weight = Keep(RandomFloats(hidden, 4, 1.0f, DType::kFloat32), {hidden}, DType::kFloat32);
    const auto run = [&](std::vector<ResidualBranch> branches) {
      const Tensor sum = backend().UploadActivations(x, {3, hidden});
      const Tensor normed = backend().AddNorm(sum, branches, norm, 0.75f);
      return std::pair(backend().DownloadFloats(sum), backend().DownloadFloats(normed));
    };
    const Tensor combined = backend().WeightedSum(y, routing.places, routing.weights);
    EXPECT_EQ(run({{y, routing}}), run({combined}));
    EXPECT_EQ(run({beside, {y, routing}}), run({beside, combined}));
  }
}

// Every row alone and among hundreds of others, all experts: the same bits.
TEST_P(ExpertsTest, RowsDoNotDependOnTheirNeighbours) {
  for (const bool gated : {false, true}) {
    const int64_t hidden = emulated() ? 128 : 1280;
    const Layer layer =
        MakeLayer(4, hidden, emulated() ? 140 : 1100, Activation::kSilu, gated, true);
    const int64_t rows = emulated() ? 200 : 600;
    const auto x = Random(rows * hidden, 7);
    std::vector<std::vector<int32_t>> choices;
    for (int32_t t = 0; t < rows; ++t) choices.push_back({t * t % 4, (t * t + 1 + t % 3) % 4});
    const auto run = [&](int64_t begin, int64_t count) {
      const std::vector<std::vector<int32_t>> part(choices.begin() + begin,
                                                   choices.begin() + begin + count);
      const Routing routing = RouteTo(part, 4);
      Tensor input = backend().UploadActivations(
          std::span<const float>(x).subspan(begin * hidden, count * hidden), {count, hidden});
      return backend().DownloadFloats(backend().WeightedSum(
          backend().ExpertFfn(input, *layer.packed, routing), routing.places, routing.weights));
    };
    const auto all = run(0, rows);
    for (const int64_t count : {1, 2, 7, 64}) {
      for (const int64_t begin : {int64_t{0}, int64_t{101}, rows - 64}) {
        const auto part = run(begin, count);
        EXPECT_EQ(std::memcmp(part.data(), &all[begin * hidden], part.size() * sizeof(float)), 0)
            << count << " rows from " << begin;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ExpertsTest, ::testing::ValuesIn(ProductCases()),
                         BackendCaseName);

}  // namespace
}  // namespace tessera::testing
