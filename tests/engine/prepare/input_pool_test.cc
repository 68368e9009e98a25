// Fair turns, memory within the budget, and everything given back wherever a request stands.
#include "engine/prepare/input_pool.h"

#include <gtest/gtest.h>

#include <chrono>

#include "engine/base/status.h"
#include "tests/testing/collecting_sink.h"
#include "tests/testing/images.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

constexpr int64_t kBudget = int64_t{512} << 20;
constexpr std::chrono::seconds kPatience(60);

// About some images of side × side pixels, which are more work than bytes.
Request Ask(int images, int side) {
  Message message;
  for (int i = 0; i < images; ++i) {
    message.parts.emplace_back(EncodedImage{testing::BlankPng(side, side), ""});
  }
  message.parts.emplace_back("What?");
  Request request;
  request.input = std::vector<Message>{message};
  return request;
}

class InputPoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::TokenizerFiles::Make("GPT2Tokenizer", {}).WriteSlow(directory_.path());
    tokenizer_ = Tokenizer::Load(directory_.path()).value();
    ImageFormat format;
    format.taken = true;
    format.rows = 4;
    preparer_.emplace(*tokenizer_, PromptFormat::kPhi, format,
                      InputLimits{.max_images = 16, .image = {}, .max_context = 1000});
    pool_.emplace(*preparer_, memory_, inbox_);
  }
  void Start(int32_t image_threads = 1) { pool_->Start({1000, 1000}, image_threads); }

  std::shared_ptr<LiveRequest> Live(Request request) {
    auto live = std::make_shared<LiveRequest>();
    live->ticket = next_ticket_++;
    request.memory = std::make_shared<MemoryCharge>(
        memory_.Charge(MemoryUse::kRequests, InputBytes(request.input)).value());
    live->cancellation.set_deadline(request.deadline);
    live->request = std::move(request);
    return live;
  }
  Ticket Add(Request request) {
    auto live = Live(std::move(request));
    const Ticket ticket = live->ticket;
    added_[ticket] = live;
    pool_->Add(std::move(live));
    return ticket;
  }
  // The next request that is prepared or refused; kept, as the engine's thread would.
  PreparedMessage Next() {
    const Clock::time_point until = Clock::now() + kPatience;
    while (arrived_.empty() && Clock::now() < until) {
      for (InboxMessage& message : inbox_.Take(until)) {
        arrived_.push_back(std::move(std::get<PreparedMessage>(message)));
      }
    }
    if (arrived_.empty()) {
      ADD_FAILURE() << "nothing came";
      return {nullptr, {}, 0, absl::InternalError("nothing came")};
    }
    PreparedMessage message = std::move(arrived_.front());
    arrived_.erase(arrived_.begin());
    return message;
  }
  // That no image can be let in until it is given back.
  MemoryCharge FillBudget() {
    return memory_.Charge(MemoryUse::kImages, kBudget - memory_.bytes() - (1 << 20)).value();
  }
  template <typename Condition>
  void WaitUntil(Condition condition) {
    const Clock::time_point until = Clock::now() + kPatience;
    while (!condition() && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(condition());
  }
  InputPoolStats Stats() const { return pool_->Stats(Clock::now()); }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<Preparer> preparer_;
  MemoryBudget memory_{kBudget};
  Inbox inbox_;
  Ticket next_ticket_ = 1;
  std::map<Ticket, std::weak_ptr<LiveRequest>> added_;
  std::vector<PreparedMessage> arrived_;
  std::optional<InputPool> pool_;
};

TEST_F(InputPoolTest, ARequestOfManyImagesIsPreparedInTurns) {
  Start();
  Add(Ask(3, 40));
  const PreparedMessage message = Next();
  ASSERT_TRUE(message.prompt.ok()) << message.prompt.status();
  EXPECT_EQ(message.prompt->images.size(), 3u);
  EXPECT_EQ(message.max_rows, 1000);
  EXPECT_GT(message.prompt->preprocess_seconds, 0);
  EXPECT_EQ(InputBytes(message.request->request.input), 0) << "the files are freed";
  EXPECT_EQ(memory_.bytes(MemoryUse::kRequests), 0);
  int64_t patches = 0;
  for (const auto& image : message.prompt->images) {
    patches += static_cast<int64_t>(image->patches.size() * sizeof(float));
  }
  EXPECT_EQ(memory_.bytes(MemoryUse::kImages), patches) << "only the patches are held";
  EXPECT_EQ(Stats().images, 3u);
  EXPECT_EQ(Stats().oldest_preparing, 0);
}

TEST_F(InputPoolTest, TextIsNeverBehindImages) {
  const MemoryCharge held = FillBudget();
  Start(1);
  for (int i = 0; i < 4; ++i) Add(Ask(2, 40));
  const Ticket text = Add(Ask(0, 0));
  EXPECT_EQ(Next().request->ticket, text);
}

TEST_F(InputPoolTest, ASmallRequestIsNotBehindOneOfManyImages) {
  Start(1);
  const Ticket heavy = Add(Ask(12, 1500));
  const Ticket small = Add(Ask(1, 40));
  EXPECT_EQ(Next().request->ticket, small);
  EXPECT_LT(Stats().images, 12u);
  EXPECT_EQ(Next().request->ticket, heavy);
}

TEST_F(InputPoolTest, NorBehindManyRequestsOfOneHeavyImage) {
  for (int i = 0; i < 8; ++i) Add(Ask(1, 1500));
  const Ticket small = Add(Ask(1, 40));
  Start(1);
  size_t before = 0;
  while (Next().request->ticket != small) ++before;
  EXPECT_LE(before, 2u) << "those under way when it came";
}

TEST_F(InputPoolTest, WhatCanNeverFitIsRefusedBeforeAnythingIsDecoded) {
  Start();
  Request request = Ask(4, 3000);
  request.sampling.max_tokens = 990;
  Add(std::move(request));
  EXPECT_EQ(StatusReason(Next().prompt.status()), "CONTEXT_LENGTH_EXCEEDED");

  Message message;
  for (int i = 0; i < 16; ++i) {
    message.parts.emplace_back(EncodedImage{testing::BlankWebp(8192, 8192), ""});
  }
  request = Ask(0, 0);
  request.input = std::vector<Message>{message};
  Add(std::move(request));
  const absl::Status work = Next().prompt.status();
  EXPECT_EQ(StatusReason(work), "IMAGE_TOO_LARGE");
  EXPECT_EQ(StatusField(work), "conversation.messages[0].parts[10].image");
  EXPECT_NE(StatusMessage(work).find("the first 11 images takes about 9.6 s, limit 9.0 s"),
            std::string_view::npos)
      << work;

  // The last of its images is broken, and that shows in its header.
  request = Ask(3, 3000);
  std::get<std::vector<Message>>(request.input)[0].parts.emplace_back(
      EncodedImage{"\xff\xd8\xff", ""});
  Add(std::move(request));
  EXPECT_EQ(StatusReason(Next().prompt.status()), "IMAGE_DECODE_FAILED");
  EXPECT_EQ(Stats().images, 0u);
  EXPECT_EQ(memory_.bytes(), 0);
}

TEST_F(InputPoolTest, ImagesWaitForMemoryInsteadOfFailing) {
  std::optional<MemoryCharge> held = FillBudget();
  Start(2);
  const Ticket first = Add(Ask(1, 2000));
  const Ticket second = Add(Ask(1, 2000));
  WaitUntil([&] { return Stats().oldest_preparing > 0 && Stats().oldest_queued == 0; });
  EXPECT_EQ(Stats().images, 0u);
  held.reset();
  const PreparedMessage one = Next();
  const PreparedMessage other = Next();
  EXPECT_TRUE(one.prompt.ok() && other.prompt.ok());
  EXPECT_EQ(one.request->ticket + other.request->ticket, first + second);
}

TEST_F(InputPoolTest, FullOfWaitingRequestsOneImageIsDecodedAfterTheOther) {
  const MemoryCharge queued = memory_.Charge(MemoryUse::kRequests, kBudget - (2 << 20)).value();
  for (int i = 0; i < 3; ++i) Add(Ask(1, 2000));
  Start(2);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Next().prompt.ok());
}

TEST_F(InputPoolTest, MoreMemoryThanThereEverIsIsRefused) {
  Start();
  Message message;
  message.parts.emplace_back(EncodedImage{testing::RepeatedScansJpeg(8192, 8192, 4), ""});
  Request request;
  request.input = std::vector<Message>{message};
  Add(std::move(request));
  const absl::Status status = Next().prompt.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusReason(status), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Stats().images, 0u);
}

TEST_F(InputPoolTest, DroppedRequestsAreFreedAtOnceWhereverTheyStand) {
  const Ticket queued = Add(Ask(1, 40));  // no thread yet
  EXPECT_GT(memory_.bytes(), 0);
  pool_->Drop(queued);
  EXPECT_EQ(memory_.bytes(), 0);
  EXPECT_TRUE(added_[queued].expired());

  std::optional<MemoryCharge> held = FillBudget();
  Start(1);
  const Ticket waiting = Add(Ask(2, 2000));
  WaitUntil([&] { return Stats().oldest_preparing > 0 && Stats().longest_turn == 0; });
  pool_->Drop(waiting);
  EXPECT_EQ(memory_.bytes(), held->bytes());
  EXPECT_TRUE(added_[waiting].expired());
  held.reset();

  const Ticket decoding = Add(Ask(8, 3000));
  WaitUntil([&] { return Stats().images > 0; });
  pool_->Drop(decoding);
  WaitUntil([&] { return memory_.bytes() == 0 && added_[decoding].expired(); });
  EXPECT_LT(Stats().images, 8u);
  EXPECT_EQ(Stats().oldest_preparing, 0);

  const auto gone = Live(Ask(1, 40));  // cancelled before it is added
  gone->cancellation.Cancel();
  pool_->Add(gone);
  EXPECT_EQ(memory_.bytes(), 0);
  pool_->Drop(12345);
  EXPECT_TRUE(inbox_.Take(Clock::now()).empty()) << "nothing is told of any of them";
}

TEST_F(InputPoolTest, PastItsDeadlineARequestIsFreedAndNothingToldOfIt) {
  Start();
  Request late = Ask(4, 3000);
  late.deadline = Clock::now() + std::chrono::milliseconds(20);
  const Ticket ticket = Add(std::move(late));
  WaitUntil([&] { return added_[ticket].expired(); });
  EXPECT_EQ(memory_.bytes(), 0);
  EXPECT_LT(Stats().images, 4u);
  EXPECT_TRUE(inbox_.Take(Clock::now()).empty());
}

TEST_F(InputPoolTest, StopFreesTheQueueAndInterruptsWhatIsUnderWay) {
  Start(1);
  const Request heavy = Ask(8, 3000);
  for (int i = 0; i < 5; ++i) Add(heavy);
  WaitUntil([&] { return Stats().images > 0; });
  pool_->Stop();
  EXPECT_EQ(memory_.bytes(), 0);
  for (const auto& [ticket, live] : added_) EXPECT_TRUE(live.expired()) << ticket;
  EXPECT_LE(Stats().images, 2u);
  const Ticket late = Add(Ask(1, 40));
  EXPECT_TRUE(added_[late].expired());
  EXPECT_EQ(memory_.bytes(), 0);
}

TEST_F(InputPoolTest, TellsHowLongTheOldestStands) {
  Request old = Ask(1, 40);
  old.arrival = Clock::now() - std::chrono::seconds(100);
  Add(std::move(old));
  Add(Ask(1, 40));
  EXPECT_GE(Stats().oldest_queued, 100);
  EXPECT_EQ(Stats().oldest_preparing, 0);
  const MemoryCharge held = FillBudget();
  Start(1);
  WaitUntil([&] { return Stats().oldest_queued == 0; });
  const InputPoolStats later = pool_->Stats(Clock::now() + std::chrono::seconds(50));
  EXPECT_GE(later.oldest_preparing, 50);
  EXPECT_LT(later.oldest_preparing, 100) << "since it was begun, not since it came";
}

}  // namespace
}  // namespace tessera
