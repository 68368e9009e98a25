#include "engine/pace.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr double kWeight = 0.2;           // of the newest observation
constexpr double kLeastAdded = 0.002;     // seconds that added work may always take
constexpr int32_t kLeastPrefillRows = 16;

void Learn(double& average, double value) {
  average = average == 0 ? value : average + kWeight * (value - average);
}

}  // namespace

double Pace::AddedSeconds(int decoding) const {
  if (decoding == 0 || decode_seconds_ == 0) return options_.step_seconds;
  return std::min(options_.step_seconds,
                  std::max(kLeastAdded, options_.stall_ratio * decode_seconds_));
}

StepBudget Pace::Rows(int decoding, bool vision_waits) const {
  StepBudget budget{options_.step_rows, options_.step_rows};
  if (prefill_row_seconds_ == 0 || decoding == 0) return budget;
  const double seconds = AddedSeconds(decoding) * (vision_waits ? 0.5 : 1.0);
  const double rows = std::min<double>(options_.step_rows, seconds / prefill_row_seconds_);
  budget.prefill_rows = std::max(std::min(kLeastPrefillRows, options_.step_rows),
                                 static_cast<int32_t>(rows));
  return budget;
}

double Pace::VisionFlops(int decoding) const {
  if (vision_seconds_per_flop_ == 0) return 0;
  return AddedSeconds(decoding) * 0.5 / vision_seconds_per_flop_;
}

void Pace::LearnForward(int32_t decoding_rows, int32_t prefill_rows, double seconds) {
  if (prefill_rows <= 0) {
    Learn(decode_seconds_, seconds);
    return;
  }
  const double own = decoding_rows > 0 ? decode_seconds_ : 0;
  Learn(prefill_row_seconds_, std::max(1e-7, (seconds - own) / prefill_rows));
}

void Pace::LearnVision(double flops, double seconds) {
  if (flops > 0) Learn(vision_seconds_per_flop_, std::max(1e-18, seconds / flops));
}

}  // namespace tessera
