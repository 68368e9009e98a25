#include "engine/step/routing_counts.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

using Counts = std::vector<uint64_t>;

EngineStats Zeros(size_t layers, size_t experts) {
  EngineStats stats;
  stats.layer_tokens.resize(layers * 2);
  stats.busiest_tokens.resize(layers);
  stats.expert_tokens.resize(layers * experts * 2);
  return stats;
}

// Three rows that choose two of three experts each; the second is one of an image.
const std::vector<bool> kRows = {false, true, false};
const std::vector<int32_t> kEven = {0, 1, 1, 2, 2, 0};
const std::vector<int32_t> kUneven = {2, 0, 2, 1, 2, 0};

TEST(RoutingCountsTest, AddsUpStepsByLayerModalityAndExpert) {
  RoutingCounts counts(RoutingTelemetry::kExpert, 2, 3);
  EngineStats stats = Zeros(2, 3);
  counts.Count(0, kEven, kRows);
  counts.Count(1, kUneven, kRows);
  counts.AddTo(stats);
  EXPECT_EQ(stats.layer_tokens, (Counts{4, 2, 4, 2}));
  EXPECT_EQ(stats.busiest_tokens, (Counts{2, 3}));
  EXPECT_EQ(stats.expert_tokens, (Counts{2, 0, 1, 1, 1, 1, 2, 0, 0, 1, 2, 1}));
  counts.Count(0, kUneven, kRows);
  counts.Count(1, std::vector<int32_t>{1, 2}, {true});
  counts.AddTo(stats);
  EXPECT_EQ(stats.layer_tokens, (Counts{8, 4, 4, 4}));
  EXPECT_EQ(stats.busiest_tokens, (Counts{5, 4})) << "the busiest of each step, not of all";
  EXPECT_EQ(stats.expert_tokens, (Counts{4, 0, 1, 2, 3, 2, 2, 0, 0, 2, 2, 2}));
}

TEST(RoutingCountsTest, ByLayerTheSumsAreTheSame) {
  RoutingCounts counts(RoutingTelemetry::kLayer, 2, 3);
  EngineStats stats = Zeros(2, 0);
  counts.Count(0, kEven, kRows);
  counts.Count(1, kUneven, kRows);
  counts.AddTo(stats);
  EXPECT_EQ(stats.layer_tokens, (Counts{4, 2, 4, 2}));
  EXPECT_EQ(stats.busiest_tokens, (Counts{2, 3}));
  EXPECT_TRUE(stats.expert_tokens.empty());
}

TEST(RoutingCountsTest, OffIsOff) {
  EXPECT_FALSE(RoutingCounts(RoutingTelemetry::kOff, 2, 3).enabled());
  EXPECT_TRUE(RoutingCounts(RoutingTelemetry::kLayer, 2, 3).enabled());
}

TEST(RoutingCountsTest, FewExpertsAreToldEach) {
  EXPECT_EQ(UsualRoutingTelemetry(0, 0), RoutingTelemetry::kExpert);
  EXPECT_EQ(UsualRoutingTelemetry(32, 16), RoutingTelemetry::kExpert);
  EXPECT_EQ(UsualRoutingTelemetry(27, 19), RoutingTelemetry::kLayer);
  EXPECT_EQ(UsualRoutingTelemetry(48, 128), RoutingTelemetry::kLayer);
}

}  // namespace
}  // namespace tessera
