#include "server/heap_trim.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "engine/base/system_memory.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(TrimRuleTest, TrimsWhatHasGrownAndNobodyHolds) {
  TrimRule rule;
  EXPECT_FALSE(rule.IsWorthIt(200 * kMiB, 0)) << "the first sight";
  EXPECT_FALSE(rule.IsWorthIt(210 * kMiB, 0)) << "too little";
  EXPECT_FALSE(rule.IsWorthIt(500 * kMiB, 295 * kMiB)) << "requests hold it";
  EXPECT_TRUE(rule.IsWorthIt(500 * kMiB, 100 * kMiB));
  rule.Trimmed(190 * kMiB);
  EXPECT_FALSE(rule.IsWorthIt(200 * kMiB, 0));
  EXPECT_TRUE(rule.IsWorthIt(206 * kMiB, 0)) << "the least that was left counts";
}

TEST(TrimRuleTest, WhatNoTrimGivesBackIsTakenForNeededInTheEnd) {
  TrimRule rule;
  EXPECT_FALSE(rule.IsWorthIt(200 * kMiB, 0));
  for (int trims = 0; trims < 10; ++trims) {
    ASSERT_TRUE(rule.IsWorthIt(300 * kMiB, 0)) << "it may yet be freed";
    rule.Trimmed(300 * kMiB);
  }
  int trims = 10;
  for (; trims < 1000 && rule.IsWorthIt(300 * kMiB, 0); ++trims) rule.Trimmed(300 * kMiB);
  EXPECT_LT(trims, 100);
}

class HeapTrimTest : public ServerFixture {};

// Pieces as small as gRPC's, between others that stay: the allocator keeps such holes for itself.
TEST_F(HeapTrimTest, MemoryThatRequestsHeldGoesBackToTheSystem) {
  StartServer();
  // it has seen what is there without requests
  std::this_thread::sleep_for(2 * HeapTrim::kInterval);
  constexpr size_t kPiece = 16 << 10;
  std::vector<std::unique_ptr<char[]>> held;
  std::vector<std::unique_ptr<char[]>> kept;
  const int64_t before = ResidentHeapBytes();
  {
    const auto charge = engine_->memory().Charge(MemoryUse::kRequests, 200 * kMiB);
    ASSERT_TRUE(charge.ok()) << charge.status();
    for (int64_t bytes = 0; bytes < 200 * kMiB; bytes += kPiece) {
      held.push_back(std::make_unique<char[]>(kPiece));
      std::memset(held.back().get(), 1, kPiece);
      kept.push_back(std::make_unique<char[]>(64));
    }
    held.clear();
  }
  const auto until = Clock::now() + std::chrono::seconds(10);
  while (ResidentHeapBytes() > before + 100 * kMiB && Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(ResidentHeapBytes(), before + 100 * kMiB);
}

}  // namespace
}  // namespace tessera::testing
