#include "engine/schedule/token_budget_controller.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tessera {
namespace {

// Steps of 10 ms with decoding rows only, 1 ms more for each row of prefill beside them.
TokenBudgetController Learned(const TokenBudgetOptions& options) {
  TokenBudgetController pace(options);
  for (int i = 0; i < 50; ++i) {
    pace.LearnForward(4, 0, 0.010);
    pace.LearnForward(4, 60, 0.070);
  }
  return pace;
}

TEST(TokenBudgetControllerTest, StartsWithFewRowsWhileItKnowsNothing) {
  const TokenBudgetController pace({.step_rows = 300});
  for (const int decoding : {0, 1, 64}) {
    EXPECT_EQ(pace.Rows(decoding, true).rows, 300);
    EXPECT_EQ(pace.Rows(decoding, true).prefill_rows, kMinPrefillRows);
    EXPECT_EQ(pace.VisionFlops(decoding), 0);
  }
}

TEST(TokenBudgetControllerTest, NoStepHasMoreThanTwiceTheRowsOfAnyBefore) {
  TokenBudgetController pace({.step_rows = 512, .step_seconds = 1e9});
  int32_t rows = kMinPrefillRows;
  for (const int32_t expected : {32, 64, 128, 256, 512, 512}) {
    pace.LearnForward(0, rows, 0.001);
    rows = pace.Rows(0, false).prefill_rows;
    EXPECT_EQ(rows, expected);
  }
}

// `seconds` for one row and `row_seconds` for each further one; what steps of nobody who decodes
// settle at.
int32_t SettledRows(const TokenBudgetOptions& options, double seconds, double row_seconds) {
  TokenBudgetController pace(options);
  pace.LearnForward(1, 0, seconds);
  int32_t rows = kMinPrefillRows;
  for (int i = 0; i < 100; ++i) {
    pace.LearnForward(0, rows, seconds + row_seconds * rows);
    rows = pace.Rows(0, false).prefill_rows;
  }
  return rows;
}

TEST(TokenBudgetControllerTest, AStepWhereNobodyDecodesEndsInTime) {
  const TokenBudgetOptions options = {.step_rows = 512, .step_seconds = 0.25};
  EXPECT_EQ(SettledRows(options, 0.0001, 0.0001), 512) << "the bound in rows";
  EXPECT_NEAR(SettledRows(options, 0.05, 0.001), 200, 1);
  EXPECT_NEAR(SettledRows(options, 0.01, 0.014), 32, 1) << "twice the time of 16 rows";
  EXPECT_NEAR(SettledRows(options, 0.8, 0.02), 72, 1) << "the same";
}

TEST(TokenBudgetControllerTest, TheLastRowsOfAPromptDoNotTellWhatManyTake) {
  TokenBudgetController pace({.step_rows = 512, .step_seconds = 0.25});
  for (int i = 0; i < 50; ++i) pace.LearnForward(0, 200, 0.2);
  const int32_t before = pace.Rows(0, false).prefill_rows;
  for (int i = 0; i < 50; ++i) pace.LearnForward(0, 2, 0.1);
  EXPECT_EQ(pace.Rows(0, false).prefill_rows, before);
}

TEST(TokenBudgetControllerTest, PrefillTakesAsLongAsTheDecodingRowsAllow) {
  // 10 ms of stall · ratio, at 1 ms a row.
  const struct {
    TokenBudgetOptions options;
    bool vision_waits;
    int expected;
  } cases[] = {
      {{512, 0.25, 2.0}, false, 20},
      {{512, 0.25, 2.0}, true, 16},  // half of it is the vision encoder's: 10, but never below 16
      {{512, 0.25, 5.0}, false, 50},
      {{512, 0.25, 5.0}, true, 25},
      {{512, 0.025, 5.0}, false, 25},  // the bound in seconds
      {{30, 0.25, 5.0}, false, 30},    // the bound in rows
      {{8, 0.25, 0.001}, false, 8},    // steps smaller than the least
      {{512, 0.25, 0.0}, false, 16},
  };
  for (const auto& test : cases) {
    const StepBudget budget = Learned(test.options).Rows(4, test.vision_waits);
    EXPECT_NEAR(budget.prefill_rows, test.expected, 1);
    EXPECT_EQ(budget.rows, test.options.step_rows);
  }
}

TEST(TokenBudgetControllerTest, VisionTakesWorkByItsTime) {
  TokenBudgetController pace = Learned({512, 0.25, 4.0});
  EXPECT_EQ(pace.VisionFlops(4), 0) << "nothing known yet";
  for (int i = 0; i < 50; ++i) pace.LearnVision(6e9, 0.012);  // 2 ps per operation
  EXPECT_NEAR(pace.VisionFlops(4), 10e9, 1e9);                // half of 4 · 10 ms
  EXPECT_NEAR(pace.VisionFlops(0), 62.5e9, 1e9);              // half of 0.25 s
}

TEST(TokenBudgetControllerTest, FollowsChangesAndForgetsOutliers) {
  TokenBudgetController pace = Learned({512, 0.25, 5.0});
  const int before = pace.Rows(4, false).prefill_rows;
  pace.LearnForward(4, 60, 0.130);
  EXPECT_GT(pace.Rows(4, false).prefill_rows, before / 2) << "one slow step";
  for (int i = 0; i < 50; ++i) pace.LearnForward(4, 60, 0.130);  // now 2 ms a row
  EXPECT_NEAR(pace.Rows(4, false).prefill_rows, 25, 1);
}

TEST(TokenBudgetControllerTest, StaysWithinBoundsWhateverTheClockSays) {
  TokenBudgetController pace({512, 0.25, 1.0});
  for (const double seconds : {0.0, 1e9, 1e-12, 0.0}) {
    pace.LearnForward(4, 0, seconds);
    pace.LearnForward(4, 100, seconds);
    pace.LearnForward(0, 100, seconds);
    pace.LearnVision(3, seconds);
    pace.LearnVision(0, seconds);
    for (const int decoding : {0, 1, 100}) {
      const StepBudget budget = pace.Rows(decoding, true);
      EXPECT_GE(budget.prefill_rows, 16);
      EXPECT_LE(budget.prefill_rows, 512);
      EXPECT_GE(pace.VisionFlops(decoding), 0);
      EXPECT_TRUE(std::isfinite(pace.VisionFlops(decoding)));
    }
  }
}

}  // namespace
}  // namespace tessera
