#include "server/pending_writes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace tessera {
namespace {

using std::chrono::milliseconds;

class FakeWriter final : public Writer {
 public:
  void AbandonWrite() override { ++abandoned_; }
  bool WaitUntilAbandoned(milliseconds patience = std::chrono::seconds(5)) const {
    const auto until = Clock::now() + patience;
    while (abandoned_ == 0 && Clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
    return abandoned_ == 1;
  }

 private:
  std::atomic<int> abandoned_ = 0;
};

class PendingWritesTest : public ::testing::Test {
 protected:
  int64_t held() const { return memory_.bytes(MemoryUse::kAnswers); }

  MemoryBudget memory_{1000};
  std::shared_ptr<FakeWriter> first_ = std::make_shared<FakeWriter>();
  std::shared_ptr<FakeWriter> second_ = std::make_shared<FakeWriter>();
};

TEST_F(PendingWritesTest, ChargesWhatIsOnItsWay) {
  PendingWrites writes;
  const uint64_t one = writes.Begin(first_, 100, memory_);
  const uint64_t other = writes.Begin(second_, 10, memory_);
  EXPECT_EQ(held(), 110);
  writes.Resize(one, 5000);
  EXPECT_EQ(held(), 5010) << "what is there can only be counted";
  writes.Resize(0, 7);
  writes.End(one);
  writes.End(one);
  writes.Resize(one, 7);
  EXPECT_EQ(held(), 10);
  writes.End(other);
  EXPECT_EQ(held(), 0);
}

TEST_F(PendingWritesTest, AWriteThatDoesNotEndIsGivenUp) {
  PendingWrites writes({.longest = milliseconds(300)});
  writes.Begin(first_, 100, memory_);
  writes.End(writes.Begin(second_, 100, memory_));
  EXPECT_TRUE(first_->WaitUntilAbandoned());
  EXPECT_FALSE(second_->WaitUntilAbandoned(milliseconds(0)));
  EXPECT_EQ(held(), 0);
  EXPECT_EQ(writes.given_up(), 1u);
}

TEST_F(PendingWritesTest, WhereAllHoldTooMuchTheOldestAreGivenUp) {
  PendingWrites writes({.share = 0.25, .least = milliseconds(0)});
  writes.Begin(first_, 200, memory_);
  const uint64_t other = writes.Begin(second_, 200, memory_);
  EXPECT_TRUE(first_->WaitUntilAbandoned());
  EXPECT_FALSE(second_->WaitUntilAbandoned(milliseconds(400)));
  EXPECT_EQ(held(), 200);
  writes.Resize(other, 300);
  EXPECT_TRUE(second_->WaitUntilAbandoned());
}

TEST_F(PendingWritesTest, AWriterThatIsGoneIsLetPass) {
  PendingWrites writes({.longest = milliseconds(0)});
  writes.Begin(std::move(first_), 100, memory_);
  first_.reset();
  writes.Begin(second_, 100, memory_);
  EXPECT_TRUE(second_->WaitUntilAbandoned());
}

}  // namespace
}  // namespace tessera
