#include "engine/schedule/token_budget_controller.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr double kWeight = 0.2;      // of the newest observation
constexpr double kMinAdded = 0.002;  // seconds that added work may always take

void Learn(double& average, double value) {
  average = average == 0 ? value : average + kWeight * (value - average);
}

}  // namespace

double TokenBudgetController::AddedSeconds(int decoding) const {
  if (decoding == 0) {
    return std::max(options_.step_seconds, 2 * least_step_seconds_) - row_seconds_;
  }
  return std::min(options_.step_seconds,
                  std::max(kMinAdded, options_.stall_ratio * decode_seconds_));
}

StepBudget TokenBudgetController::Rows(int decoding, bool vision_waits) const {
  double rows = 0;
  if (prefill_row_seconds_ > 0) {
    rows = AddedSeconds(decoding) * (vision_waits ? 0.5 : 1.0) / prefill_row_seconds_;
  }
  rows = std::min(rows, 2.0 * most_prefill_rows_);
  rows = std::clamp<double>(rows, kMinPrefillRows, std::max(options_.step_rows, kMinPrefillRows));
  return {options_.step_rows, std::min(options_.step_rows, static_cast<int32_t>(rows))};
}

double TokenBudgetController::VisionFlops(int decoding) const {
  if (vision_seconds_per_flop_ == 0) return 0;
  return AddedSeconds(decoding) * 0.5 / vision_seconds_per_flop_;
}

void TokenBudgetController::LearnForward(int32_t decoding_rows, int32_t prefill_rows,
                                         double seconds) {
  if (prefill_rows <= 0) {
    Learn(decode_seconds_, seconds);
    if (decoding_rows == 1) Learn(row_seconds_, seconds);
    return;
  }
  most_prefill_rows_ = std::max(most_prefill_rows_, prefill_rows);
  // The last few rows of a prompt tell nothing of what many cost: weights are read for them as for
  // many.
  if (prefill_rows < kMinPrefillRows && prefill_row_seconds_ > 0) return;
  if (decoding_rows == 0 && prefill_rows == kMinPrefillRows) Learn(least_step_seconds_, seconds);
  const double own = decoding_rows > 0 ? decode_seconds_ : row_seconds_;
  Learn(prefill_row_seconds_, std::max(1e-7, (seconds - own) / prefill_rows));
}

void TokenBudgetController::LearnVision(double flops, double seconds) {
  if (flops > 0) Learn(vision_seconds_per_flop_, std::max(1e-18, seconds / flops));
}

}  // namespace tessera
