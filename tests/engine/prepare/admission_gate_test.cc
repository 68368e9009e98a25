#include "engine/prepare/admission_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/base/status.h"

namespace tessera {
namespace {

TEST(AdmissionGateTest, BoundsTheNumberThatWaits) {
  AdmissionGate gate(2);
  EXPECT_TRUE(gate.Enter().ok());
  EXPECT_TRUE(gate.Enter().ok());
  const absl::Status full = gate.Enter();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(full), "QUEUE_FULL");
  EXPECT_EQ(gate.waiting(), 2);
  gate.Leave();
  EXPECT_TRUE(gate.Enter().ok());
}

TEST(AdmissionGateTest, NobodyEntersAClosedGate) {
  AdmissionGate gate(2);
  EXPECT_TRUE(gate.Enter().ok());
  EXPECT_FALSE(gate.closed());
  gate.Close();
  EXPECT_TRUE(gate.closed());
  const absl::Status draining = gate.Enter();
  EXPECT_EQ(draining.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(StatusReason(draining), "DRAINING");
  gate.Leave();
  EXPECT_EQ(gate.waiting(), 0);
}

TEST(AdmissionGateTest, KeepsItsBoundUnderManyThreads) {
  AdmissionGate gate(3);
  std::vector<std::thread> threads;
  std::atomic<int> entered = 0;
  std::atomic<bool> broken = false;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        if (!gate.Enter().ok()) continue;
        ++entered;
        if (gate.waiting() > 3) broken = true;
        gate.Leave();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(broken);
  EXPECT_GT(entered, 0);
  EXPECT_EQ(gate.waiting(), 0);
}

}  // namespace
}  // namespace tessera
