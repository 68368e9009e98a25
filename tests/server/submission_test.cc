#include "server/submission.h"

#include <gtest/gtest.h>

#include "tests/testing/fake_engine.h"

namespace tessera {
namespace {

class NoSink : public OutputSink {
 public:
  void OnAdmitted(const PromptInfo&) override {}
  void OnChunk(Chunk) override {}
  void OnFinish(const Completion&) override {}
};

TEST(SubmissionTest, CancelsAfterSubmit) {
  testing::FakeEngine engine;
  engine.SetScript(testing::SpellAndStay(""));
  Submission submission;
  ASSERT_TRUE(
      submission.Submit({.engine = &engine, .request = {}}, std::make_shared<NoSink>()).ok());
  submission.Cancel(FinishReason::kCancelled);
  submission.Cancel(FinishReason::kCancelled);
  EXPECT_TRUE(engine.WaitForFinish(FinishReason::kCancelled));
}

TEST(SubmissionTest, CancelBeforeSubmitIsNotLost) {
  testing::FakeEngine engine;
  engine.SetScript(testing::SpellAndStay(""));
  Submission submission;
  submission.Cancel(FinishReason::kCancelled);
  ASSERT_TRUE(
      submission.Submit({.engine = &engine, .request = {}}, std::make_shared<NoSink>()).ok());
  EXPECT_TRUE(engine.WaitForFinish(FinishReason::kCancelled));
}

TEST(SubmissionTest, ADeadlineKeepsItsName) {
  testing::FakeEngine engine;
  engine.SetScript(testing::SpellAndStay(""));
  Submission submission;
  submission.Cancel(FinishReason::kDeadline);
  submission.Cancel(FinishReason::kCancelled);
  ASSERT_TRUE(
      submission.Submit({.engine = &engine, .request = {}}, std::make_shared<NoSink>()).ok());
  EXPECT_TRUE(engine.WaitForFinish(FinishReason::kDeadline));
}

TEST(SubmissionTest, CancelOfARefusedRequestIsNothing) {
  testing::FakeEngine engine;
  engine.SetRefusal(absl::UnavailableError("no"));
  Submission submission;
  EXPECT_FALSE(
      submission.Submit({.engine = &engine, .request = {}}, std::make_shared<NoSink>()).ok());
  submission.Cancel(FinishReason::kCancelled);
  EXPECT_EQ(engine.cancels(), 0u);
}

}  // namespace
}  // namespace tessera
