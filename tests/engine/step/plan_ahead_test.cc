// A step that is planned before the tokens of the one before it are known changes nothing that a
// request gets.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine.h"
#include "tests/testing/phi_engine.h"

namespace tessera {
namespace {

using testing::Ask;
using testing::CollectingSink;
using testing::ExpectIdle;
using testing::RunAlone;
using testing::RunTogether;
using testing::StartPhi;
using testing::Submit;

EngineOptions Ahead(bool ahead, EngineOptions options = {}) {
  options.plan_ahead = ahead;
  return options;
}

// Text and images, greedy and sampled, of many lengths; where `back`, some look back on their
// tokens.
std::vector<Request> Requests(bool back) {
  const char* const images[] = {"", "wide.png", "", "gray.png", "tall.jpg"};
  std::vector<Request> requests;
  for (int i = 0; i < 24; ++i) {
    Request request =
        Ask("Question " + std::to_string(i) + std::string(static_cast<size_t>(i), 'y'),
            images[i % 5], 1 + i);
    request.sampling.seed = static_cast<uint64_t>(i);
    if (i % 3 == 1) request.sampling.temperature = 1.1f;
    if (i % 4 == 2) request.sampling.min_tokens = i / 2;
    if (i % 6 == 3) request.sampling.logit_bias = {{7, 2.0f}};
    if (back && i % 5 == 0) request.sampling.repetition_penalty = 1.2f;
    request.sampling.ignore_eos = i % 2 == 0;
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST(PlanAheadTest, SameTokensTogetherChunkedPreemptedAndAlone) {
  for (const bool back : {false, true}) {
    const std::vector<Request> requests = Requests(back);
    const auto waiting = StartPhi(Ahead(false));
    const std::vector<std::vector<int32_t>> expected = RunTogether(*waiting, requests);
    const auto engine = StartPhi(Ahead(true));
    EXPECT_EQ(RunTogether(*engine, requests), expected);
    EXPECT_EQ(RunTogether(*engine, requests), expected) << "after prefix hits";
    for (size_t i = 0; i < requests.size(); i += 5) {
      EXPECT_EQ(RunAlone(*engine, requests[i]), expected[i]) << i;
    }
    ExpectIdle(*engine);
    EngineOptions tight;
    tight.step_tokens = 16;
    tight.kv_cache_bytes = engine->model().kv_bytes_per_token * 16 * 12;
    const auto preempting = StartPhi(Ahead(true, tight));
    EXPECT_EQ(RunTogether(*preempting, requests), expected) << "with preemptions";
    EXPECT_GT(preempting->Stats().preemptions, 0u);
    ExpectIdle(*preempting);
  }
}

TEST(PlanAheadTest, GumbelRoutingIsTheSame) {
  std::vector<Request> requests = Requests(false);
  requests.resize(8);
  EXPECT_EQ(RunTogether(*StartPhi(Ahead(true), RouterMode::kGumbel), requests),
            RunTogether(*StartPhi(Ahead(false), RouterMode::kGumbel), requests));
}

// A lone answer takes a step for each token and one more that only takes the last one.
TEST(PlanAheadTest, TokensAreTakenAStepLater) {
  for (const bool ahead : {false, true}) {
    const auto engine = StartPhi(Ahead(ahead));
    Request request = Ask("", "", 9);
    request.input = RawPrompt{"How far is it?", {}};  // few enough tokens for the first step
    RunAlone(*engine, request);
    ExpectIdle(*engine);
    EXPECT_EQ(engine->Stats().steps, ahead ? 10u : 9u);
  }
}

TEST(PlanAheadTest, NothingIsComputedBehindTheLongestAnswer) {
  for (const bool ahead : {false, true}) {
    const auto engine = StartPhi(Ahead(ahead));
    const auto sink = Submit(*engine, Ask("How far?", "", 9));
    sink->Wait();
    ExpectIdle(*engine);
    const EngineStats stats = engine->Stats();
    uint64_t rows = 0;
    for (const uint64_t tokens : stats.layer_tokens) rows += tokens;
    EXPECT_EQ(rows, 2u * 2u * static_cast<uint64_t>(sink->prompt().text_tokens + 8)) << ahead;
  }
}

TEST(PlanAheadTest, LogprobsAndUsageAreTheSame) {
  Request request = Ask("What is in the picture?", "wide.png", 7);
  request.sampling.logprobs = 3;
  const auto run = [&](bool ahead) {
    const auto engine = StartPhi(Ahead(ahead));
    const auto sink = Submit(*engine, request);
    sink->Wait();
    return sink;
  };
  const auto expected = run(false);
  const auto sink = run(true);
  EXPECT_EQ(sink->token_ids(), expected->token_ids());
  EXPECT_EQ(sink->text(), expected->text());
  EXPECT_EQ(sink->completion().finish_reason, expected->completion().finish_reason);
  EXPECT_EQ(sink->completion().usage.generated_tokens, 7);
  ASSERT_EQ(sink->chunks().size(), expected->chunks().size());
  for (size_t i = 0; i < sink->chunks().size(); ++i) {
    const Chunk chunk = sink->chunks()[i];
    const Chunk other = expected->chunks()[i];
    EXPECT_EQ(chunk.logprobs.at(0).logprob, other.logprobs.at(0).logprob);
    ASSERT_EQ(chunk.top_logprobs.at(0).size(), 3u);
    for (size_t j = 0; j < 3; ++j)
      EXPECT_EQ(chunk.top_logprobs[0][j].id, other.top_logprobs[0][j].id);
  }
}

// The answer's text ends in mid-flight: a token more is under way and nobody gets it.
TEST(PlanAheadTest, StopStringsAndEndTokensEndTheAnswer) {
  const auto engine = StartPhi(Ahead(true));
  Request request = Ask("What is in the picture?", "", 24);
  const auto whole = Submit(*engine, request);
  whole->Wait();
  request.sampling.stop_ids = {whole->token_ids()[5]};
  const auto cut = Submit(*engine, request);
  cut->Wait();
  const std::vector<int32_t> ids = whole->token_ids();
  const auto first = std::find(ids.begin(), ids.end(), ids[5]);
  EXPECT_EQ(cut->token_ids(), std::vector<int32_t>(ids.begin(), first + 1));
  EXPECT_EQ(cut->completion().finish_reason, FinishReason::kStop);
  EXPECT_EQ(cut->completion().usage.generated_tokens, first + 1 - ids.begin());
  ExpectIdle(*engine);
}

TEST(PlanAheadTest, CancelShutdownAndDeadlineInMidFlight) {
  const auto engine = StartPhi(Ahead(true));
  const std::vector<int32_t> expected = RunAlone(*engine, Ask("Steady.", "", 60));
  const auto steady = Submit(*engine, Ask("Steady.", "", 60));
  for (size_t chunks = 0; chunks < 8; ++chunks) {
    Ticket ticket = 0;
    Request request = Ask("Tell me more.", chunks % 2 == 0 ? "wide.png" : "", 500);
    if (chunks == 7) request.deadline = Clock::now() + std::chrono::milliseconds(50);
    const auto sink = Submit(*engine, request, &ticket);
    sink->WaitForChunks(chunks);
    if (chunks != 7) engine->Cancel(ticket);
    sink->Wait();
    EXPECT_EQ(sink->finishes(), 1);
    EXPECT_FALSE(sink->completion().status.ok());
  }
  steady->Wait();
  EXPECT_EQ(steady->token_ids(), expected);
  ExpectIdle(*engine);
  const auto last = Submit(*engine, Ask("Endless.", "", 1000));
  last->WaitForChunks(2);
  engine->Shutdown();
  EXPECT_EQ(last->finishes(), 1);
  EXPECT_EQ(last->completion().status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tessera
