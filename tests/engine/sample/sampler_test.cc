#include "engine/sample/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "engine/base/random.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Sampled {
  int32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;
};

// As a step does it on the CPU.
Sampled Sample(std::vector<float> logits, const SamplingParams& params,
               const std::vector<int32_t>& tokens = {}, int32_t prompt_rows = 0,
               const std::vector<int32_t>& end_ids = {},
               std::optional<int32_t> prompt_stand_in = std::nullopt) {
  const SamplerInput input = {static_cast<int32_t>(logits.size()), tokens, prompt_rows,
                              prompt_stand_in, end_ids};
  const RowSampling sampling = ResolveSampling(input, params);
  const std::vector<float> raw = logits;
  std::set<int32_t> edited;
  for (const LogitAdjustment& adjustment : sampling.adjustments) {
    EXPECT_TRUE(edited.insert(adjustment.id).second)
        << "two adjustments of token " << adjustment.id;
    float& logit = logits.at(static_cast<size_t>(adjustment.id));
    logit = adjustment.Adjusted(logit);
  }
  Sampled sampled = {SampleToken(logits, sampling.sample), 0, {}};
  EXPECT_EQ(sampling.whole, params.logprobs >= 0);
  if (!sampling.whole) return sampled;
  const Logprobs logprobs = LogprobsOf(raw, sampled.id, params.logprobs);
  sampled.logprob = logprobs.chosen;
  sampled.top = logprobs.top;
  return sampled;
}

// What each token's chance is, written as the definitions are: over the sorted distribution, one
// filter after the other.
std::vector<double> Chances(const std::vector<float>& logits, const SamplingParams& params) {
  struct Candidate {
    size_t id;
    double chance;
  };
  std::vector<Candidate> sorted;
  double total = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    sorted.push_back({id, std::exp(double{logits[id]} / params.temperature.value())});
    total += sorted.back().chance;
  }
  for (Candidate& candidate : sorted) candidate.chance /= total;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Candidate& a, const Candidate& b) { return a.chance > b.chance; });
  const auto renormalize = [&] {
    double left = 0;
    for (const Candidate& candidate : sorted) left += candidate.chance;
    for (Candidate& candidate : sorted) candidate.chance /= left;
  };
  if (const int32_t top_k = params.top_k.value_or(0); top_k > 0) {
    sorted.resize(std::min(sorted.size(), static_cast<size_t>(top_k)));
  }
  renormalize();
  // The shortest beginning that reaches top_p.
  size_t nucleus = 0;
  for (double reached = 0; nucleus < sorted.size() && reached < params.top_p.value_or(1);
       ++nucleus) {
    reached += sorted[nucleus].chance;
  }
  sorted.resize(nucleus);
  const double least = params.min_p.value_or(0) * sorted[0].chance;
  std::erase_if(sorted, [&](const Candidate& candidate) { return candidate.chance < least; });
  renormalize();
  std::vector<double> chances(logits.size());
  for (const Candidate& candidate : sorted) chances[candidate.id] = candidate.chance;
  return chances;
}

std::vector<int> Frequencies(const std::vector<float>& logits, SamplingParams params, int samples) {
  std::vector<int> counts(logits.size());
  for (int i = 0; i < samples; ++i) {
    params.seed = static_cast<uint64_t>(i);
    ++counts[static_cast<size_t>(Sample(logits, params).id)];
  }
  return counts;
}

TEST(SamplerTest, FrequenciesFollowTheFilteredDistribution) {
  const std::vector<float> logits = {1.0f, -0.5f, 2.2f, 0.3f, -3.0f, 1.9f, 0.0f, 2.0f, -1.0f, 0.9f};
  const struct {
    float temperature;
    int32_t top_k;
    float top_p, min_p;
  } cases[] = {{1.0f, 0, 1, 0},       {0.5f, 0, 1, 0},    {3.0f, 0, 1, 0},
               {100.0f, 0, 1, 0},     {1.0f, 3, 1, 0},    {1.0f, 1, 1, 0},
               {1.0f, 1000, 1, 0},    {1.0f, 0, 0.7f, 0}, {1.0f, 0, 0.01f, 0},
               {2.0f, 0, 0.95f, 0},   {1.0f, 0, 1, 0.3f}, {1.0f, 0, 1, 1.0f},
               {1.5f, 5, 0.8f, 0.2f}, {0.7f, 6, 0.6f, 0}, {1.0f, 4, 0.99f, 0.5f}};
  constexpr int kDraws = 8000;
  for (const auto& test : cases) {
    SamplingParams params;
    params.temperature = test.temperature;
    params.top_k = test.top_k;
    params.top_p = test.top_p;
    params.min_p = test.min_p;
    const std::vector<double> chances = Chances(logits, params);
    const std::vector<int> counts = Frequencies(logits, params, kDraws);
    double chi_square = 0;
    for (size_t id = 0; id < logits.size(); ++id) {
      const double expected = chances[id] * kDraws;
      if (expected == 0) {
        EXPECT_EQ(counts[id], 0) << "token " << id << " was filtered";
      } else {
        chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
      }
    }
    EXPECT_LT(chi_square, 29.6)  // 9 degrees of freedom, p = 0.0005
        << "temperature " << test.temperature << " top_k " << test.top_k << " top_p " << test.top_p
        << " min_p " << test.min_p;
  }
}

TEST(SamplerTest, RandomDistributionsKeepToTheAllowedTokens) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 2);
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> logits(1 + random() % 30);
    for (float& logit : logits) logit = normal(random);
    SamplingParams params;
    params.temperature = 0.1f + static_cast<float>(random() % 30) / 10;
    params.top_k = static_cast<int32_t>(random() % 8);
    params.top_p = static_cast<float>(1 + random() % 100) / 100;
    params.min_p = static_cast<float>(random() % 3) / 4;
    params.seed = random();
    const std::vector<double> chances = Chances(logits, params);
    const int32_t id = Sample(logits, params).id;
    EXPECT_GT(chances[static_cast<size_t>(id)], 0);
  }
}

TEST(SamplerTest, GreedyTakesTheBestAndOfEqualOnesTheLowestId) {
  SamplingParams greedy;
  EXPECT_EQ(Sample({1, 3, 2}, greedy).id, 1);
  EXPECT_EQ(Sample({1, 3, 3, 3}, greedy).id, 1);
  EXPECT_EQ(Sample({-5, -5}, greedy).id, 0);
  EXPECT_EQ(Sample({-kInfinity, -7}, greedy).id, 1);
  greedy.seed = 99;
  EXPECT_EQ(Sample({1, 3, 3, 3}, greedy).id, 1);
}

TEST(SamplerTest, TinyTemperaturesAreGreedy) {
  for (const float temperature : {1e-3f, 1e-20f, std::numeric_limits<float>::denorm_min()}) {
    SamplingParams params;
    params.temperature = temperature;
    for (params.seed = 0; params.seed < 50; ++params.seed) {
      EXPECT_EQ(Sample({1, 3, 2, -kInfinity}, params).id, 1);
    }
  }
}

TEST(SamplerTest, OfEqualOnesTopKKeepsTheLowestIds) {
  SamplingParams params;
  params.temperature = 1;
  params.top_k = 2;
  const std::vector<int> counts = Frequencies({0, 1, 1, 1}, params, 500);
  EXPECT_EQ(counts[0] + counts[3], 0);
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[2], 0);
}

TEST(SamplerTest, ADrawIsKeyedBySeedAndPosition) {
  const std::vector<float> logits(1000, 0.0f);
  SamplingParams params;
  params.temperature = 1;
  params.seed = 5;
  const std::vector<int32_t> tokens = {1, 2, 3};
  const int32_t first = Sample(logits, params, tokens).id;
  EXPECT_EQ(Sample(logits, params, tokens).id, first);
  EXPECT_EQ(Sample(logits, params, {9, 8, 7}, 2).id, first) << "only their number counts";
  std::set<int32_t> by_position, by_seed;
  for (size_t length = 0; length < 100; ++length) {
    by_position.insert(Sample(logits, params, std::vector<int32_t>(length, 1)).id);
  }
  for (params.seed = 0; params.seed < 100; ++params.seed) {
    by_seed.insert(Sample(logits, params, tokens).id);
  }
  EXPECT_GT(by_position.size(), 80u);  // 95 expected of 100 samples from 1000
  EXPECT_GT(by_seed.size(), 80u);
}

TEST(SamplerTest, RepetitionPenaltyCoversPromptAndAnswerOnce) {
  SamplingParams params;
  params.repetition_penalty = 2;
  // Seen: 0 (twice), 1, 3. Logits become 2, -4, 2.5, 0.
  const std::vector<int32_t> tokens = {0, 1, 0, 3};
  EXPECT_EQ(Sample({4, -2, 2.5f, 0}, params, tokens, 3).id, 2);
  EXPECT_EQ(Sample({4, -2, 1.9f, 0}, params, tokens, 3).id, 0) << "penalised once, not twice";
  EXPECT_EQ(Sample({-3, -2, -4.1f, -5}, params, tokens, 3).id, 1) << "negative ones fall, too";
  EXPECT_EQ(Sample({-3, -2, -3.9f, -5}, params, tokens, 3).id, 2);
  params.repetition_penalty = 0.5f;  // favours what was seen
  EXPECT_EQ(Sample({3, 2, 5.9f, 0}, params, tokens, 3).id, 0);
}

TEST(SamplerTest, ATokenMayStandForThePromptInTheRepetitionPenalty) {
  SamplingParams params;
  params.repetition_penalty = 10;
  const std::vector<int32_t> tokens = {3, 3, 0};  // the answer is 0
  const auto best = [&](std::vector<float> logits, std::optional<int32_t> stand_in) {
    return Sample(std::move(logits), params, tokens, 2, {}, stand_in).id;
  };
  EXPECT_EQ(best({4, 2, 1, 3}, std::nullopt), 1) << "0 and 3 count";
  EXPECT_EQ(best({4, 2, 1, 3}, 1), 3) << "0 and 1 count";
  EXPECT_EQ(best({4, 2, 1, 0}, 1), 2);
  EXPECT_EQ(best({4, 2, 1, 0}, 0), 1) << "once, not twice";
  params.repetition_penalty.reset();
  EXPECT_EQ(best({4, 2, 1, 3}, 1), 0);
}

TEST(SamplerTest, PresenceAndFrequencyCoverTheAnswerAlone) {
  SamplingParams params;
  params.presence_penalty = 1;
  params.frequency_penalty = 0.5f;
  // Prompt: 2 2 2. Answer: 0 0 1. Logits 0 loses 1 + 2 · 0.5 = 2, 1 loses 1.5, 2 nothing.
  const std::vector<int32_t> tokens = {2, 2, 2, 0, 0, 1};
  EXPECT_EQ(Sample({5, 0, 2.9f}, params, tokens, 3).id, 0);
  EXPECT_EQ(Sample({5, 0, 3.1f}, params, tokens, 3).id, 2);
  EXPECT_EQ(Sample({0, 4.6f, 3.0f}, params, tokens, 3).id, 1);
  EXPECT_EQ(Sample({0, 4.4f, 3.0f}, params, tokens, 3).id, 2);
  params.presence_penalty = -1;
  params.frequency_penalty = 0;
  EXPECT_EQ(Sample({2.1f, 2.1f, 3.0f}, params, tokens, 3).id, 0) << "negative ones favour";
}

TEST(SamplerTest, ImageRowsAreNoTokens) {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.presence_penalty = 1;
  const std::vector<int32_t> tokens = {kImagePlaceholder, kImagePlaceholder, 1, 500};
  EXPECT_EQ(Sample({3, 5, 1}, params, tokens, 3).id, 0);
}

TEST(SamplerTest, LogitBiasIsAdded) {
  SamplingParams params;
  params.logit_bias = {{2, 3.0f}, {0, -100.0f}};
  EXPECT_EQ(Sample({9, 1, -1}, params).id, 2);
  params.logit_bias = {{2, 1.9f}, {0, -100.0f}};
  EXPECT_EQ(Sample({9, 1, -1}, params).id, 1);
}

TEST(SamplerTest, EndTokensAreBarredBeforeTheLeastLength) {
  SamplingParams params;
  params.min_tokens = 2;
  const std::vector<int32_t> ends = {1, 7, -1};  // 7 and -1 are no rows of these logits
  const std::vector<float> logits = {1, 9, 2};
  EXPECT_EQ(Sample(logits, params, {0, 0, 0}, 3, ends).id, 2);
  EXPECT_EQ(Sample(logits, params, {0, 0, 0, 2}, 3, ends).id, 2);
  EXPECT_EQ(Sample(logits, params, {0, 0, 0, 2, 2}, 3, ends).id, 1);
  params.logit_bias = {{1, 100.0f}};  // not even a bias brings them back
  params.temperature = 1;
  for (params.seed = 0; params.seed < 100; ++params.seed) {
    EXPECT_NE(Sample(logits, params, {0, 0, 0}, 3, ends).id, 1);
  }
}

TEST(SamplerTest, LogprobsAreOfTheRawDistribution) {
  const std::vector<float> logits = {1, 3, 2, 3, -kInfinity, -4};
  SamplingParams params;
  EXPECT_TRUE(Sample(logits, params).top.empty());
  params.logprobs = 20;
  params.temperature = 0.1f;
  params.logit_bias = {{5, 100.0f}};
  const Sampled token = Sample(logits, params);
  EXPECT_EQ(token.id, 5);
  ASSERT_EQ(token.top.size(), 6u) << "no more than there are tokens";
  const std::vector<int32_t> order = {1, 3, 2, 0, 5, 4};
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(token.top[i].first, order[i]);
    sum += std::exp(double{token.top[i].second});
  }
  EXPECT_NEAR(sum, 1, 1e-6);
  EXPECT_FLOAT_EQ(token.logprob, token.top[4].second);
  EXPECT_NEAR(token.top[0].second - token.top[2].second, 1, 1e-6);
  params.logprobs = 0;
  EXPECT_TRUE(Sample(logits, params).top.empty());
  EXPECT_FLOAT_EQ(Sample(logits, params).logprob, token.logprob);
}

TEST(SamplerTest, LogprobsOfLargeLogitsDoNotOverflow) {
  SamplingParams params;
  params.logprobs = 2;
  const Sampled token = Sample({3e38f, 3e38f, -3e38f}, params);
  EXPECT_NEAR(token.top[0].second, std::log(0.5), 1e-6);
  EXPECT_NEAR(token.logprob, std::log(0.5), 1e-6);
}

// A model that overflowed: the step loop fails the request by looking at the token's logit, so a
// token there must be.
TEST(SamplerTest, LogitsThatAreNotFiniteGiveSomeTokenOfTheVocabulary) {
  const std::vector<std::vector<float>> cases = {{kNan, kNan, kNan},
                                                 {kNan, 1, 2},
                                                 {1, kNan, 2},
                                                 {kInfinity, 0, 1},
                                                 {kInfinity, kInfinity, 0},
                                                 {-kInfinity, -kInfinity},
                                                 {kNan, kInfinity, -kInfinity}};
  for (const float temperature : {0.0f, 1.0f}) {
    for (const int32_t top_k : {0, 1}) {
      for (const std::vector<float>& logits : cases) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_k = top_k;
        params.logprobs = 2;
        const int32_t id = Sample(logits, params).id;
        EXPECT_GE(id, 0);
        EXPECT_LT(id, static_cast<int32_t>(logits.size()));
      }
    }
  }
}

TEST(SamplerTest, BarringEveryTokenGivesSomeTokenOfTheVocabulary) {
  SamplingParams params;
  params.temperature = 1;
  params.min_tokens = 5;
  const int32_t id = Sample({1, 2}, params, {0}, 1, {0, 1}).id;
  EXPECT_TRUE(id == 0 || id == 1);
}

// Greedy answers leave their logits as they are.
TEST(SamplerTest, WithoutPenaltiesNothingIsEdited) {
  SamplingParams filters;  // of a sample that is not made
  filters.top_k = 3;
  filters.top_p = 0.5f;
  filters.min_tokens = 2;
  const std::vector<int32_t> tokens = {5, 6, 7};
  const std::vector<int32_t> ends = {1};
  const RowSampling sampling = ResolveSampling({8, tokens, 1, {}, ends}, filters);
  EXPECT_TRUE(sampling.adjustments.empty());
  EXPECT_EQ(sampling.sample.temperature, 0);
  EXPECT_FALSE(sampling.whole);
  EXPECT_EQ(Sample({1, 3, 3, 2}, filters, {5, 6, 7}, 1).id, 1);
}

}  // namespace
}  // namespace tessera
