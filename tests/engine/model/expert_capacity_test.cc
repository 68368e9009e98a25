#include "engine/model/expert_capacity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tessera {
namespace {

constexpr RouterConfig kTopTwo = {.experts_per_token = 2, .renormalize = true};
constexpr RouterConfig kTopOne = {.experts_per_token = 1, .renormalize = false};

TEST(ExpertCapacityTest, CountsPlaces) {
  const struct {
    double factor;
    int minimum;
    int64_t tokens, experts;
    int choices;
    int64_t expected;
  } cases[] = {
      {2.0, 0, 10, 4, 2, 10},   // every token: nothing is dropped
      {0.75, 4, 75, 4, 2, 29},  // ⌈28.125⌉
      {0.75, 4, 1, 4, 2, 4},    // the minimum
      {0.75, 0, 1, 4, 2, 1},    // ⌈0.375⌉
      {1.0, 0, 8, 4, 1, 2},
      {0.0, 0, 8, 4, 1, 0},
      {0.7, 0, 20, 4, 2, 7},  // 5 · 1.4 is 7 in float32
      {1e6, 0, int64_t{1} << 31, 1, 2, 1000000000},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(CapacityOf({test.factor, test.minimum}, test.tokens, test.experts, test.choices),
              test.expected)
        << test.factor << " " << test.tokens;
  }
}

// Weights after dropping where each expert takes `places` of every group.
std::vector<float> Drop(const std::vector<int32_t>& chosen, const std::vector<int32_t>& groups,
                        int places, const RouterConfig& router, std::vector<float> weights) {
  const std::vector<float> logits(chosen.size() / static_cast<size_t>(router.experts_per_token) * 3,
                                  0.0f);  // all of three experts alike
  DropBeyondCapacity({0.0, places}, {logits, chosen, 3, router}, groups, weights);
  return weights;
}

TEST(ExpertCapacityTest, FirstChoicesOfAllComeBeforeSecondOnesInOrder) {
  // Expert 0: first choices of rows 0 and 2, then the second of row 1; expert 1: rows 1, 0
  // (second), 2 (second).
  const std::vector<int32_t> chosen = {0, 1, 1, 0, 0, 1};
  const std::vector<float> weights(6, 0.5f);
  EXPECT_EQ(Drop(chosen, {0, 3}, 3, kTopTwo, weights), weights) << "room for all";
  EXPECT_EQ(Drop(chosen, {0, 3}, 2, kTopTwo, weights),
            (std::vector<float>{0.5f, 0.5f, 1, 0, 1, 0}));
  EXPECT_EQ(Drop(chosen, {0, 3}, 1, kTopTwo, weights), (std::vector<float>{1, 0, 1, 0, 0, 0}));
  EXPECT_EQ(Drop(chosen, {0, 3}, 0, kTopTwo, weights), std::vector<float>(6, 0.0f));
}

TEST(ExpertCapacityTest, DroppedFirstChoicesHoldTheirPlaceInTheCount) {
  // Rows 0 and 1 want expert 0 first, row 2 wants it second: the count stands at 2 for it, though
  // one place was given.
  EXPECT_EQ(Drop({0, 1, 0, 2, 1, 0}, {0, 3}, 1, kTopTwo, std::vector<float>(6, 0.5f)),
            (std::vector<float>{1, 0, 0, 1, 1, 0}));
}

TEST(ExpertCapacityTest, GroupsDoNotTakeEachOthersPlaces) {
  const std::vector<int32_t> chosen = {0, 1, 0, 1, 0, 1};
  const std::vector<float> weights(6, 0.5f);
  EXPECT_EQ(Drop(chosen, {0, 1, 2, 3}, 1, kTopTwo, weights), weights);
  EXPECT_EQ(Drop(chosen, {0, 1, 3}, 1, kTopTwo, weights),
            (std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, 0, 0}));
  EXPECT_TRUE(Drop({}, {0}, 1, kTopTwo, {}).empty());
}

TEST(ExpertCapacityTest, ASingleChoiceKeepsItsProbability) {
  EXPECT_EQ(Drop({2, 2, 0}, {0, 3}, 1, kTopOne, {0.4f, 0.5f, 0.6f}),
            (std::vector<float>{0.4f, 0, 0.6f}));
}

TEST(ExpertCapacityTest, AChoiceAlmostWithoutProbabilityDoesNotGrow) {
  // The reference divides by at least float32's epsilon: a lone second choice of probability e⁻²⁰
  // keeps less than its whole weight.
  const std::vector<float> logits = {20, 0, -20, 20, -20, 0};
  const std::vector<int32_t> chosen = {0, 1, 0, 2};
  std::vector<float> weights = {1, 2e-9f, 1, 2e-9f};
  DropBeyondCapacity({0.0, 1}, {logits, chosen, 3, kTopTwo}, std::vector<int32_t>{0, 2}, weights);
  EXPECT_FLOAT_EQ(weights[0] + weights[1], 1.0f);
  EXPECT_EQ(weights[2], 0.0f) << "expert 0 is full";
  EXPECT_NEAR(weights[3], std::exp(-20.0) / 1.1920929e-7, 1e-4);
}

}  // namespace
}  // namespace tessera
