#include "engine/model/router_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <set>

#include "engine/base/random.h"

namespace tessera {
namespace {

TEST(RouterNoiseTest, DependsOnSeedPositionLayerAndExpertAlone) {
  const std::vector<uint64_t> seeds = {7, 7, 9};
  const std::vector<int32_t> positions = {3, 4, 3};
  const std::vector<float> together = GumbelNoise(seeds, positions, 5, 4);
  ASSERT_EQ(together.size(), 12u);
  for (size_t row = 0; row < 3; ++row) {  // alone, in another batch
    const std::vector<float> alone =
        GumbelNoise(std::span(seeds).subspan(row, 1), std::span(positions).subspan(row, 1), 5, 4);
    for (size_t expert = 0; expert < 4; ++expert) {
      EXPECT_EQ(alone[expert], together[row * 4 + expert]);
    }
  }
  // More experts do not change the values of those there were.
  const std::vector<float> wider = GumbelNoise(seeds, positions, 5, 6);
  EXPECT_EQ(wider[6 + 2], together[4 + 2]);
}

TEST(RouterNoiseTest, NoTwoKeysShareAValue) {
  std::set<float> values;
  size_t count = 0;
  for (const uint64_t seed : {0u, 1u, 2u}) {
    for (int layer = 0; layer < 8; ++layer) {
      for (int32_t position = 0; position < 16; ++position) {
        for (const float value : GumbelNoise({{seed}}, {{position}}, layer, 8)) {
          values.insert(value);
          ++count;
        }
      }
    }
  }
  EXPECT_GE(values.size(), count - 3) << "but for floats that round alike";
}

TEST(RouterNoiseTest, IsFiniteAndGumbel) {
  constexpr int kRows = 20000;
  const std::vector<uint64_t> seeds(kRows, 42);
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), 0);
  double sum = 0;
  double squares = 0;
  const std::vector<float> noise = GumbelNoise(seeds, positions, 0, 4);
  for (const float value : noise) {
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += double{value} * value;
  }
  const double n = static_cast<double>(noise.size());
  const double mean = sum / n;
  EXPECT_NEAR(mean, std::numbers::egamma, 0.02);
  EXPECT_NEAR(squares / n - mean * mean, std::numbers::pi * std::numbers::pi / 6, 0.05);
}

// The largest of logit + noise is expert e as often as softmax says (Gumbel 1954).
TEST(RouterNoiseTest, LargestFollowsSoftmax) {
  constexpr int kRows = 30000;
  const double logits[] = {0.0, 1.0, 2.0};
  const std::vector<uint64_t> seeds(kRows, 3);
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<float> noise = GumbelNoise(seeds, positions, 2, 3);
  int counts[3] = {};
  for (size_t row = 0; row < kRows; ++row) {
    size_t best = 0;
    for (size_t e = 1; e < 3; ++e) {
      if (logits[e] + noise[row * 3 + e] > logits[best] + noise[row * 3 + best]) best = e;
    }
    ++counts[best];
  }
  const double total = 1 + std::exp(1.0) + std::exp(2.0);
  for (size_t e = 0; e < 3; ++e) {
    EXPECT_NEAR(counts[e] / static_cast<double>(kRows), std::exp(logits[e]) / total, 0.01);
  }
}

TEST(RandomTest, IsUniformAndNeverAnEnd) {
  constexpr int kBins = 20;
  int counts[kBins] = {};
  for (uint64_t index = 0; index < 40000; ++index) {
    const double value = UniformAt(1, 2, index);
    ASSERT_GT(value, 0);
    ASSERT_LT(value, 1);
    ++counts[static_cast<int>(value * kBins)];
  }
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 2000.0) * (count - 2000.0) / 2000.0;
  EXPECT_LT(chi_square, 43.8);  // 19 degrees of freedom, p = 0.001
}

}  // namespace
}  // namespace tessera
