// How a token is sampled from a row of logits, on every device alike. Chances are integers, so that
// sums are exact in any order: the weight of a logit is exp((logit - best) / temperature) in units
// of 2^-44, rounded down; what is below one unit is never sampled.
//
// Kept are the longest beginnings, in the order of the logits (of equal ones the lower id first),
// of
//   top-k   k tokens,
//   top-p   as few tokens as have top_p of the weight that top-k left,
//   min-p   tokens with min_p of the best one's weight,
// and one at least. The token sampled is the first, in the order of ids, at which the weight of the
// kept ones exceeds uniform · their total. Where the best logit is not finite or the temperature is
// 0 it is the token of the largest logit, NaN counting as larger.
#pragma once

#include <cstdint>
#include <span>

namespace tessera {

struct SampleParams {
  float temperature = 0;
  int32_t top_k = 0;  // 0: all
  float top_p = 1;
  float min_p = 0;
  double uniform = 0;  // in [0, 1)
};

// What is done to a logit before the sample; a row has at most one adjustment of a token.
struct LogitAdjustment {
  int32_t row = 0;
  int32_t id = 0;
  // positive logits are divided by it, others multiplied; Keskar et al. 2019, CTRL, §4.1
  float repetition = 1;
  float added = 0;  // then

  float Adjusted(float logit) const {
    if (repetition != 1) logit = logit > 0 ? logit / repetition : logit * repetition;
    return logit + added;
  }
};

constexpr double kWeightUnits = 0x1p44;
constexpr int64_t kMaxSampled = int64_t{1} << 19;  // tokens: their weights' sum fits into 63 bits

// The place in `logits` (at least one, at most kMaxSampled).
int32_t SampleToken(std::span<const float> logits, const SampleParams& sample);

}  // namespace tessera
