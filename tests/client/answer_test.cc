// Answer: events in order become one response; any other order is an error.
#include "client/answer.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

v1::StreamGenerateResponse Prompt() {
  v1::StreamGenerateResponse event;
  event.mutable_prompt()->set_request_id("r");
  event.mutable_prompt()->set_model("m");
  event.mutable_prompt()->add_prompt_token_ids(7);
  return event;
}

v1::StreamGenerateResponse Delta(const std::string& text, int id) {
  v1::StreamGenerateResponse event;
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_token_ids(id);
  event.mutable_delta()->add_logprobs()->mutable_chosen()->set_id(id);
  return event;
}

v1::StreamGenerateResponse Finish() {
  v1::StreamGenerateResponse event;
  event.mutable_finish()->set_finish_reason(v1::FINISH_REASON_LENGTH);
  event.mutable_finish()->mutable_usage()->set_generated_tokens(2);
  return event;
}

TEST(Answer, JoinsEvents) {
  Answer answer;
  for (const auto& event : {Prompt(), Delta("a", 1), Delta("b", 2), Finish()}) {
    ASSERT_TRUE(answer.Add(event).ok());
  }
  EXPECT_TRUE(answer.CheckComplete().ok());
  const v1::GenerateResponse& response = answer.response();
  EXPECT_EQ(response.request_id(), "r");
  EXPECT_EQ(response.model(), "m");
  EXPECT_EQ(response.text(), "ab");
  EXPECT_EQ(response.token_ids_size(), 2);
  EXPECT_EQ(response.logprobs(1).chosen().id(), 2);
  EXPECT_EQ(response.prompt_token_ids(0), 7);
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.usage().generated_tokens(), 2);
}

TEST(Answer, RefusesOtherOrders) {
  EXPECT_EQ(Answer().Add(Delta("a", 1)).code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(Answer().Add(Finish()).ok());
  EXPECT_FALSE(Answer().Add({}).ok());
  Answer answer;
  ASSERT_TRUE(answer.Add(Prompt()).ok());
  EXPECT_FALSE(answer.Add(Prompt()).ok());
  EXPECT_FALSE(answer.Add({}).ok());
  EXPECT_EQ(answer.CheckComplete().code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(answer.Add(Finish()).ok());
  EXPECT_FALSE(answer.Add(Delta("late", 1)).ok());
  EXPECT_FALSE(answer.Add(Finish()).ok());
  EXPECT_EQ(answer.response().text(), "");
}

}  // namespace
}  // namespace tessera
