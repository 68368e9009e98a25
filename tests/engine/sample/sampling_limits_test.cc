#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/base/status.h"
#include "engine/sample/sampler.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int32_t kVocabulary = 100;

TEST(CheckSamplingTest, DefaultsAndLimitsPass) {
  EXPECT_TRUE(CheckSampling(SamplingParams(), kVocabulary).ok());
  const std::vector<std::function<void(SamplingParams&)>> cases = {
      [](auto& p) { p.temperature = 100; },
      [](auto& p) { p.top_k = 1'000'000; },
      [](auto& p) { p.top_p = 1e-6f; },
      [](auto& p) { p.min_p = 1; },
      [](auto& p) { p.repetition_penalty = 100; },
      [](auto& p) { p.repetition_penalty = 0.01f; },
      [](auto& p) { p.presence_penalty = -2; },
      [](auto& p) { p.frequency_penalty = 2; },
      [](auto& p) {
        p.logit_bias = {{0, -100.0f}, {99, 100.0f}};
      },
      [](auto& p) {
        p.logit_bias.assign(1024, {1, 0.5f});
      },
      [](auto& p) { p.max_tokens = p.min_tokens = 7; },
      [](auto& p) { p.min_tokens = 7; },
      [](auto& p) { p.stop.assign(16, std::string(256, 'x')); },
      [](auto& p) { p.stop_ids.assign(64, 99); },
      [](auto& p) { p.logprobs = 20; },
      [](auto& p) { p.logprobs = 0; },
      [](auto& p) { p.seed = ~uint64_t{0}; },
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SamplingParams params;
    cases[i](params);
    EXPECT_TRUE(CheckSampling(params, kVocabulary).ok())
        << i << ": " << CheckSampling(params, kVocabulary);
  }
}

TEST(CheckSamplingTest, EveryFieldBeyondItsLimitsIsNamed) {
  struct Case {
    std::string field;
    std::function<void(SamplingParams&)> set;
    std::string value;  // in the message
  };
  const std::vector<Case> cases = {
      {"temperature", [](auto& p) { p.temperature = -0.5f; }, "-0.5"},
      {"temperature", [](auto& p) { p.temperature = 100.5f; }, "100.5"},
      {"temperature", [](auto& p) { p.temperature = kNan; }, "nan"},
      {"temperature", [](auto& p) { p.temperature = kInfinity; }, "inf"},
      {"top_k", [](auto& p) { p.top_k = -1; }, "-1"},
      {"top_p", [](auto& p) { p.top_p = 0; }, "0"},
      {"top_p", [](auto& p) { p.top_p = 1.5f; }, "1.5"},
      {"top_p", [](auto& p) { p.top_p = 1.1f; }, "(0, 1], not 1.1"},
      {"top_p", [](auto& p) { p.top_p = -0.5f; }, "-0.5"},
      {"top_p", [](auto& p) { p.top_p = kNan; }, "nan"},
      {"min_p", [](auto& p) { p.min_p = -0.5f; }, "-0.5"},
      {"min_p", [](auto& p) { p.min_p = 1.5f; }, "1.5"},
      {"min_p", [](auto& p) { p.min_p = kNan; }, "nan"},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0; }, "0"},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = -1; }, "-1"},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 101; }, "101"},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = kNan; }, "nan"},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 2.5f; }, "2.5"},
      {"presence_penalty", [](auto& p) { p.presence_penalty = -2.5f; }, "-2.5"},
      {"presence_penalty", [](auto& p) { p.presence_penalty = kNan; }, "nan"},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = 2.5f; }, "2.5"},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = -2.5f; }, "-2.5"},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = kNan; }, "nan"},
      {"logit_bias[-1]",
       [](auto& p) {
         p.logit_bias = {{-1, 1.0f}};
       },
       "100"},
      {"logit_bias[100]",
       [](auto& p) {
         p.logit_bias = {{5, 1.0f}, {100, 1.0f}};
       },
       "100"},
      {"logit_bias[5]",
       [](auto& p) {
         p.logit_bias = {{5, 100.5f}};
       },
       "100.5"},
      {"logit_bias[5]",
       [](auto& p) {
         p.logit_bias = {{5, -101.0f}};
       },
       "-101"},
      {"logit_bias[5]",
       [](auto& p) {
         p.logit_bias = {{5, kNan}};
       },
       "nan"},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias.assign(1025, {1, 0.5f});
       },
       "1024"},
      {"max_tokens", [](auto& p) { p.max_tokens = -1; }, "-1"},
      {"min_tokens", [](auto& p) { p.min_tokens = -1; }, "-1"},
      {"min_tokens", [](auto& p) { p.min_tokens = 1 + (p.max_tokens = 7); }, "8"},
      {"stop", [](auto& p) { p.stop.assign(17, "x"); }, "16"},
      {"stop[1]",
       [](auto& p) {
         p.stop = {"x", ""};
       },
       "256"},
      {"stop[1]",
       [](auto& p) {
         p.stop = {"x", std::string(257, 'x')};
       },
       "256"},
      {"stop_token_ids", [](auto& p) { p.stop_ids.assign(65, 1); }, "64"},
      {"stop_token_ids[0]", [](auto& p) { p.stop_ids = {-1}; }, "-1"},
      {"stop_token_ids[1]",
       [](auto& p) {
         p.stop_ids = {1, 100};
       },
       "100"},
      {"logprobs", [](auto& p) { p.logprobs = -2; }, "-2"},
      {"logprobs", [](auto& p) { p.logprobs = 21; }, "21"},
  };
  for (const Case& test : cases) {
    SamplingParams params;
    test.set(params);
    const absl::Status status = CheckSampling(params, kVocabulary);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.field << " " << test.value;
    EXPECT_EQ(StatusField(status), "sampling." + test.field) << status;
    EXPECT_EQ(StatusReason(status), "INVALID_PARAMETER");
    EXPECT_NE(StatusMessage(status).find(test.value), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
