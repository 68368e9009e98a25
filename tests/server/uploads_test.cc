#include "server/uploads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/base/status.h"

namespace tessera {
namespace {

class FakeReceiver final : public Receiver {
 public:
  void GiveUp(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
  }
  // Waits until it is given up, or not.
  std::string reason(std::chrono::milliseconds patience = std::chrono::seconds(5)) const {
    const auto until = Clock::now() + patience;
    while (Clock::now() < until) {
      {
        const std::lock_guard lock(mutex_);
        if (!status_.ok()) return StatusReason(status_);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return "";
  }

 private:
  mutable std::mutex mutex_;
  absl::Status status_;
};

class UploadsTest : public ::testing::Test {
 protected:
  BytesRead Read() {
    return [this](std::string_view peer) -> std::optional<int64_t> {
      return peer == "a" ? a_.load() : b_.load();
    };
  }
  bool WaitForReceiving(int64_t bytes) const {
    const auto until = Clock::now() + std::chrono::seconds(5);
    while (memory_.bytes(MemoryUse::kReceiving) != bytes && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return memory_.bytes(MemoryUse::kReceiving) == bytes;
  }

  std::atomic<int64_t> a_ = 1000;  // before any call
  std::atomic<int64_t> b_ = 0;
  MemoryBudget memory_{1000};
  std::shared_ptr<FakeReceiver> first_ = std::make_shared<FakeReceiver>();
  std::shared_ptr<FakeReceiver> second_ = std::make_shared<FakeReceiver>();
};

TEST_F(UploadsTest, ChargesWhatHasArrivedSinceAndGivesItBack) {
  Uploads uploads(Read(), {.window_bytes = 0});
  const uint64_t first = uploads.Begin("a", first_, memory_);
  a_ += 100;
  EXPECT_TRUE(WaitForReceiving(100));
  const uint64_t second = uploads.Begin("a", second_, memory_);
  a_ += 50;
  EXPECT_TRUE(WaitForReceiving(150));
  EXPECT_TRUE(uploads.End(second, 40));
  EXPECT_TRUE(WaitForReceiving(110)) << "the second's message is no longer inside gRPC";
  EXPECT_TRUE(uploads.End(first, 100));
  EXPECT_EQ(memory_.bytes(), 0);
  EXPECT_EQ(uploads.open(), 0);
  EXPECT_FALSE(uploads.End(first, 0)) << "once";
}

TEST_F(UploadsTest, ChargesAWindowForWhatCameBefore) {
  MemoryBudget memory(int64_t{1} << 20);
  Uploads uploads(Read());
  uploads.Begin("a", first_, memory);
  uploads.Begin("b", second_, memory);
  EXPECT_EQ(memory.bytes(MemoryUse::kReceiving), 2 * 65535);
}

TEST_F(UploadsTest, GivesUpTheOldestOfTheConnectionThatHoldsMost) {
  Uploads uploads(Read(), {.window_bytes = 0});
  uploads.Begin("b", second_, memory_);
  uploads.Begin("a", first_, memory_);
  b_ += 200;
  a_ += 400;
  EXPECT_EQ(first_->reason(), "QUEUE_FULL");
  EXPECT_TRUE(WaitForReceiving(200));
  EXPECT_EQ(second_->reason(std::chrono::milliseconds(120)), "");
  EXPECT_EQ(uploads.given_up(), 1u);
}

TEST_F(UploadsTest, GivesUpWhatIsSlow) {
  Uploads uploads(
      Read(), {.grace = std::chrono::milliseconds(100), .bytes_per_second = 10, .window_bytes = 0});
  uploads.Begin("a", first_, memory_);
  uploads.Begin("b", second_, memory_);
  b_ += 50;  // five seconds' worth
  EXPECT_EQ(first_->reason(), "UPLOAD_TOO_SLOW");
  EXPECT_EQ(second_->reason(std::chrono::milliseconds(120)), "");
}

TEST_F(UploadsTest, NoUploadLastsForEver) {
  Uploads uploads(
      Read(),
      {.bytes_per_second = 1, .longest = std::chrono::milliseconds(100), .window_bytes = 0});
  uploads.Begin("a", first_, memory_);
  a_ += 400;
  EXPECT_EQ(first_->reason(), "UPLOAD_TOO_SLOW");
}

TEST_F(UploadsTest, ANewOneTakesThePlaceOfTheOldestWhereMostReceive) {
  Uploads uploads(Read(), {.max_calls = 3, .window_bytes = 0});
  const auto other = std::make_shared<FakeReceiver>();
  uploads.Begin("b", other, memory_);
  uploads.Begin("a", first_, memory_);
  uploads.Begin("a", second_, memory_);
  EXPECT_NE(uploads.Begin("b", std::make_shared<FakeReceiver>(), memory_), 0u);
  EXPECT_EQ(first_->reason(), "QUEUE_FULL");
  EXPECT_EQ(uploads.open(), 3);
}

TEST_F(UploadsTest, GivesUpAMessageOverTheLimitBeforeItIsWhole) {
  MemoryBudget memory(int64_t{1} << 30);
  Uploads uploads(Read(), {.window_bytes = 0});
  uploads.Begin("a", first_, memory);
  a_ += int64_t{66} << 20;
  EXPECT_EQ(first_->reason(), "MESSAGE_TOO_LARGE");
}

}  // namespace
}  // namespace tessera
