#include "engine/admission_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "engine/status.h"

namespace tessera {
namespace {

TEST(AdmissionGateTest, BoundsTheNumberThatWaits) {
  AdmissionGate gate(2, 1000);
  EXPECT_TRUE(gate.Enter(1).ok());
  EXPECT_TRUE(gate.Enter(1).ok());
  const absl::Status full = gate.Enter(1);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(full), "QUEUE_FULL");
  EXPECT_EQ(gate.waiting(), 2);
  EXPECT_EQ(gate.bytes(), 2) << "a refusal is not charged";
  gate.Leave(1);
  EXPECT_TRUE(gate.Enter(1).ok());
}

TEST(AdmissionGateTest, RefusesForGoodWhatCanNeverEnter) {
  AdmissionGate gate(100, 10);
  const absl::Status never = gate.Enter(11);
  EXPECT_EQ(never.code(), absl::StatusCode::kInvalidArgument) << "waiting would not help";
  EXPECT_EQ(StatusField(never), "input");
}

TEST(AdmissionGateTest, BoundsTheirBytes) {
  AdmissionGate gate(100, 10);
  EXPECT_TRUE(gate.Enter(10).ok()) << "the limit itself is allowed";
  const absl::Status full = gate.Enter(1);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(full), "QUEUE_FULL");
  EXPECT_NE(StatusMessage(full).find("10 bytes"), std::string_view::npos) << full;
  EXPECT_TRUE(gate.Enter(0).ok()) << "text alone still gets in";
  gate.Leave(10);
  EXPECT_EQ(gate.bytes(), 0);
  EXPECT_EQ(gate.waiting(), 1);
  EXPECT_TRUE(gate.Enter(9).ok());
}

TEST(AdmissionGateTest, SizesBeyondAllBoundsAreRefused) {
  AdmissionGate gate(100, std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(gate.Enter(std::numeric_limits<int64_t>::max() - 1).ok());
  EXPECT_FALSE(gate.Enter(2).ok());
  EXPECT_TRUE(gate.Enter(1).ok());
}

TEST(AdmissionGateTest, NobodyEntersAClosedGate) {
  AdmissionGate gate(2, 10);
  EXPECT_TRUE(gate.Enter(3).ok());
  EXPECT_FALSE(gate.closed());
  gate.Close();
  EXPECT_TRUE(gate.closed());
  const absl::Status draining = gate.Enter(1);
  EXPECT_EQ(draining.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(StatusReason(draining), "DRAINING");
  gate.Leave(3);
  EXPECT_EQ(gate.waiting(), 0);
}

TEST(AdmissionGateTest, KeepsItsBoundsUnderManyThreads) {
  AdmissionGate gate(5, 40);
  std::vector<std::thread> threads;
  std::atomic<int> entered = 0;
  std::atomic<bool> broken = false;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const int64_t bytes = (t * 7 + i) % 20;
        if (!gate.Enter(bytes).ok()) continue;
        ++entered;
        if (gate.waiting() > 5 || gate.bytes() > 40) broken = true;
        gate.Leave(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(broken);
  EXPECT_GT(entered, 0);
  EXPECT_EQ(gate.waiting(), 0);
  EXPECT_EQ(gate.bytes(), 0);
}

}  // namespace
}  // namespace tessera
