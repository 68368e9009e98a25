// Which tokens a step's logits give, and which rows of them reach the host.
#include "engine/sample/step_tokens.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/cpu/make_cpu_backend.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const std::vector<float> kLogits = {0, 4, 1, 9,   //
                                    7, 2, 3, 9,   //
                                    1, 1, 8, 9};  // the last column is padding

// Of the first three columns. The device must know the tokens, too.
StepTokens Choose(Backend& backend, Tensor logits, std::span<const RowSampling> samplings) {
  const Tensor sampled = backend.New(DType::kInt32, {8});
  StepTokens step(backend, logits, 3, samplings, sampled);
  step.Wait();
  const std::vector<int32_t> known = backend.DownloadInts(sampled);
  for (size_t row = 0; row < samplings.size(); ++row) EXPECT_EQ(known[row], step.token(row));
  return step;
}

TEST(StepTokensTest, RowsAreWholeWhereAskedFor) {
  const auto backend = MakeCpuBackend({}).value();
  for (const std::vector<bool>& whole : {std::vector<bool>{false, false, false},
                                         {true, true, true},
                                         {false, true, false},
                                         {true, false, true}}) {
    std::vector<RowSampling> samplings(3);
    for (size_t row = 0; row < 3; ++row) samplings[row].whole = whole[row];
    const StepTokens step = Choose(*backend, backend->Upload(kLogits, {3, 4}), samplings);
    const int32_t places[] = {1, 0, 2};
    for (size_t row = 0; row < 3; ++row) {
      EXPECT_EQ(step.token(row), places[row]);
      EXPECT_TRUE(step.finite(row));
      if (!whole[row]) continue;
      const auto values = step.logits(row);
      EXPECT_EQ(std::vector<float>(values.begin(), values.end()),
                std::vector<float>(kLogits.begin() + row * 4, kLogits.begin() + row * 4 + 3));
    }
  }
}

TEST(StepTokensTest, EditsChangeTheirRowAloneAndNotWhatTheHostSees) {
  const auto backend = MakeCpuBackend({}).value();
  std::vector<RowSampling> samplings(3);
  samplings[0].adjustments = {{0, 0, 1, 5}};
  samplings[2].adjustments = {{0, 2, 16, 0}, {0, 1, 1, 0.25f}};
  samplings[2].whole = true;
  const StepTokens step = Choose(*backend, backend->Upload(kLogits, {3, 4}), samplings);
  EXPECT_EQ(step.token(0), 0);
  EXPECT_EQ(step.token(1), 0);
  EXPECT_EQ(step.token(2), 1);
  EXPECT_EQ(step.logits(2)[2], 8);
}

TEST(StepTokensTest, DrawsBesideGreedyRows) {
  const auto backend = MakeCpuBackend({}).value();
  std::vector<RowSampling> samplings(3);
  samplings[1].sample = {.temperature = 100, .uniform = 0.5};  // about the middle of three
  const StepTokens step = Choose(*backend, backend->Upload(kLogits, {3, 4}), samplings);
  EXPECT_EQ(step.token(0), 1);
  EXPECT_EQ(step.token(1), 1);
  EXPECT_EQ(step.token(2), 2);
}

TEST(StepTokensTest, SaysWhichRowsAreNotFinite) {
  const auto backend = MakeCpuBackend({}).value();
  const std::vector<float> logits = {0, kNan, 1, 2, kInfinity, 1, -kInfinity, 0, 1};
  std::vector<RowSampling> samplings(3);
  for (RowSampling& sampling : samplings) sampling.sample.temperature = 1;
  samplings[2].adjustments = {{0, 1, 1, -kInfinity}, {0, 2, 1, -kInfinity}};
  const StepTokens step = Choose(*backend, backend->Upload(logits, {3, 3}), samplings);
  EXPECT_FALSE(step.finite(0));
  EXPECT_FALSE(step.finite(1));
  EXPECT_TRUE(step.finite(2)) << "masked tokens are no fault of the model";
}

}  // namespace
}  // namespace tessera
