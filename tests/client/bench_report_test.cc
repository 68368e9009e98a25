// The load generator's figures, against values worked out by hand.
#include "client/bench_report.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// Sent at `start`, tokens at 0.1, 0.2 and 0.4 s after, end at 0.5 s after.
Outcome Completed(double start) {
  Outcome outcome;
  outcome.start_s = start;
  outcome.chunks = {{start + 0.1, 1}, {start + 0.2, 1}, {start + 0.4, 2}};
  outcome.end_s = start + 0.5;
  outcome.usage.set_prompt_tokens(10);
  outcome.final_statuses = 1;
  return outcome;
}

TEST(Percentile, IsLinearBetweenRanks) {
  EXPECT_EQ(Percentile({}, 50), 0);
  EXPECT_EQ(Percentile({3}, 99), 3);
  EXPECT_DOUBLE_EQ(Percentile({1, 2, 3, 4}, 50), 2.5);
  // numpy.percentile([1, 2, 3, 4], 90) is 3.7.
  EXPECT_DOUBLE_EQ(Percentile({1, 2, 3, 4}, 90), 3.7);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 100), 4);
}

TEST(Describe, GivesMeanAndDeviation) {
  const Distribution distribution = Describe({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(distribution.mean, 2.5);
  EXPECT_DOUBLE_EQ(distribution.std, std::sqrt(1.25));
  EXPECT_DOUBLE_EQ(distribution.p50, 2.5);
  EXPECT_EQ(distribution.max, 4);
}

TEST(Summarize, MeasuresCompletedRequests) {
  LoadResult result;
  result.outcomes = {Completed(0), Completed(0.7)};
  result.started = 2;
  result.seconds = 2;
  const BenchReport report = Summarize(result, {});
  EXPECT_NEAR(report.ttft_ms.mean, 100, 1e-9);
  // (500 - 100) / 3.
  EXPECT_NEAR(report.tpot_ms.p50, 400.0 / 3, 1e-9);
  EXPECT_NEAR(report.itl_ms.mean, 150, 1e-9);
  EXPECT_NEAR(report.itl_ms.max, 200, 1e-9);
  EXPECT_NEAR(report.e2el_ms.p99, 500, 1e-9);
  EXPECT_EQ(report.tokens.output, 8);
  EXPECT_EQ(report.tokens.prompt, 20);
  // The first second sees all of the first request's tokens and two of the second's.
  EXPECT_EQ(report.tokens.peak_per_s, 6);
  EXPECT_FALSE(report.goodput.has_value());
  const Json json = ReportJson(report);
  EXPECT_DOUBLE_EQ(json["output_throughput"], 4);
  EXPECT_DOUBLE_EQ(json["request_throughput"], 1);
  EXPECT_NEAR(json["mean_ttft_ms"].get<double>(), 100, 1e-9);
  EXPECT_NEAR(json["p99_itl_ms"].get<double>(), 200, 1e-9);
  EXPECT_EQ(json["statuses"], Json({{"OK", 2}}));
  EXPECT_FALSE(json.contains("goodput"));
}

TEST(Summarize, CountsGoodRequests) {
  LoadResult result;
  result.outcomes = {Completed(0), Completed(0)};
  result.outcomes[1].chunks[0].at_s = 0.15;
  result.started = 2;
  result.seconds = 4;
  EXPECT_EQ(Summarize(result, {.ttft = 120}).goodput, 0.25);
  EXPECT_EQ(Summarize(result, {.itl = 201, .e2el = 501}).goodput, 0.5);
  EXPECT_EQ(Summarize(result, {.itl = 199}).goodput, 0);
}

TEST(Summarize, LeavesFailuresOutOfLatencies) {
  LoadResult result;
  result.outcomes = {Completed(0), Completed(0)};
  result.outcomes[1].code = absl::StatusCode::kCancelled;
  result.outcomes[1].error = "gone";
  result.outcomes[1].chunks[0].at_s = 5;
  result.started = 2;
  const BenchReport report = Summarize(result, {});
  EXPECT_NEAR(report.ttft_ms.max, 100, 1e-9);
  EXPECT_EQ(report.counts.completed, 1);
  EXPECT_EQ(report.counts.statuses.at("CANCELLED"), 1);
  EXPECT_EQ(report.counts.examples.at("CANCELLED"), "gone");
  EXPECT_EQ(report.counts.lost, 0);
}

TEST(Summarize, SeesRequestsWithoutOneFinalStatus) {
  LoadResult result;
  result.outcomes = {Completed(0)};
  result.started = 2;
  EXPECT_EQ(Summarize(result, {}).counts.lost, 1);
  result.started = 1;
  result.outcomes[0].final_statuses = 2;
  EXPECT_EQ(Summarize(result, {}).counts.lost, 1);
  result.outcomes[0].in_order = false;
  EXPECT_EQ(Summarize(result, {}).counts.out_of_order, 1);
  EXPECT_NE(ReportTable(Summarize(result, {})).find("1 LOST"), std::string::npos);
}

TEST(ParseObjectives, TakesNamesAndMilliseconds) {
  const absl::StatusOr<Objectives> objectives = ParseObjectives("ttft:500,itl:50.5");
  ASSERT_TRUE(objectives.ok());
  EXPECT_EQ(objectives->ttft, 500);
  EXPECT_EQ(objectives->itl, 50.5);
  EXPECT_FALSE(objectives->tpot.has_value());
  for (const char* bad :
       {"", "ttft", "ttft:", "ttft:x", "ttft:-1", "speed:5", "ttft:5,", "ttft:5ms"}) {
    EXPECT_EQ(ParseObjectives(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace tessera
