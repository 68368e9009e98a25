// How far a result is from what was expected.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tessera::testing {

// ‖actual - expected‖₂ / ‖expected‖₂; not-a-number where any value is.
inline double RelativeError(const std::vector<float>& actual, const std::vector<double>& expected) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

inline ::testing::AssertionResult Near(const std::vector<float>& actual,
                                       const std::vector<double>& expected, double tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << actual.size() << " values, expected " << expected.size();
  }
  const double error = RelativeError(actual, expected);
  if (error <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "relative error " << error << " is above " << tolerance;
}

}  // namespace tessera::testing
