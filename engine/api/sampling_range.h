// What the scalars of SamplingParams may be. The one place that says it: requests are held against
// these ranges (CheckSampling), and so is generation_config.json.
#pragma once

#include <limits>
#include <string>

namespace tessera {

struct SamplingRange {
  const char* field;
  double low;
  double high;
  bool open_low = false;  // the low end itself is not allowed

  // NaN is in no range.
  constexpr bool Holds(double value) const {
    return (open_low ? value > low : value >= low) && value <= high;
  }
  // "(0, 1]".
  std::string Interval() const;
};

constexpr SamplingRange kTemperatureRange{"temperature", 0, 100};
constexpr SamplingRange kTopKRange{"top_k", 0, std::numeric_limits<int>::max()};
constexpr SamplingRange kTopPRange{"top_p", 0, 1, true};
constexpr SamplingRange kMinPRange{"min_p", 0, 1};
constexpr SamplingRange kRepetitionPenaltyRange{"repetition_penalty", 0, 100, true};
constexpr SamplingRange kPresencePenaltyRange{"presence_penalty", -2, 2};
constexpr SamplingRange kFrequencyPenaltyRange{"frequency_penalty", -2, 2};
constexpr SamplingRange kLogprobsRange{"logprobs", 0, 20};
constexpr SamplingRange kLogitBiasRange{"logit_bias", -100, 100};

}  // namespace tessera
