#include "engine/base/memory_budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace tessera {
namespace {

TEST(MemoryBudgetTest, CountsByUseAndGivesBack) {
  MemoryBudget budget(100);
  {
    auto request = budget.Charge(MemoryUse::kRequests, 40);
    auto image = budget.Charge(MemoryUse::kImages, 30);
    ASSERT_TRUE(request.ok() && image.ok());
    EXPECT_EQ(budget.bytes(), 70);
    EXPECT_EQ(budget.bytes(MemoryUse::kRequests), 40);
    EXPECT_EQ(budget.bytes(MemoryUse::kImages), 30);
    EXPECT_EQ(budget.bytes(MemoryUse::kReceiving), 0);
  }
  EXPECT_EQ(budget.bytes(), 0);
}

TEST(MemoryBudgetTest, RefusesWhatDoesNotFitNowAndWhatNeverFits) {
  MemoryBudget budget(100);
  const auto held = budget.Charge(MemoryUse::kRequests, 80);
  ASSERT_TRUE(held.ok());
  const auto later = budget.Charge(MemoryUse::kRequests, 21);
  EXPECT_EQ(later.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(later.status()), "QUEUE_FULL");
  const auto never = budget.Charge(MemoryUse::kRequests, 101);
  EXPECT_EQ(never.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(budget.Charge(MemoryUse::kRequests, 20).ok());
  EXPECT_EQ(budget.bytes(), 80);
}

TEST(MemoryBudgetTest, AChargeGrowsShrinksAndMoves) {
  MemoryBudget budget(100);
  MemoryCharge charge = budget.Open(MemoryUse::kReceiving);
  EXPECT_TRUE(charge.Resize(60).ok());
  EXPECT_FALSE(charge.Resize(101).ok());
  EXPECT_EQ(charge.bytes(), 60);
  MemoryCharge moved = std::move(charge);
  EXPECT_EQ(moved.bytes(), 60);
  EXPECT_TRUE(moved.Resize(10).ok());
  EXPECT_EQ(budget.bytes(), 10);
  moved = budget.Open(MemoryUse::kImages);
  EXPECT_EQ(budget.bytes(), 0);
}

TEST(MemoryBudgetTest, WhatIsThereAlreadyIsCountedOverTheLimit) {
  MemoryBudget budget(100);
  MemoryCharge charge = budget.Open(MemoryUse::kReceiving);
  charge.ForceResize(150);
  EXPECT_EQ(budget.bytes(), 150);
  EXPECT_FALSE(budget.Charge(MemoryUse::kRequests, 1).ok());
  EXPECT_TRUE(charge.Resize(99).ok());  // smaller always succeeds
  EXPECT_TRUE(budget.Charge(MemoryUse::kRequests, 1).ok());
}

TEST(MemoryBudgetTest, ManyThreadsNeverPassTheLimitAndEndAtZero) {
  MemoryBudget budget(1000);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 2000; ++round) {
          const auto charge = budget.Charge(MemoryUse::kRequests, 400);
          EXPECT_LE(budget.bytes(), 1000);
        }
      });
    }
  }
  EXPECT_EQ(budget.bytes(), 0);
}

}  // namespace
}  // namespace tessera
