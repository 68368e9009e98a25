// How much prefill and vision work a step may take, beside the rows that are decoding and where
// there are none: learned from the times of past steps, small ones first. So an arriving image or
// a long prompt does not stall those who decode, and a step ends soon enough for cancels, deadlines
// and whoever watches the engine.
//
// Thread: the engine's. Results of requests never depend on it, only when they arrive.
#pragma once

#include "engine/schedule/scheduler.h"

namespace tessera {

struct TokenBudgetOptions {
  int32_t step_rows = 512;
  // of added work in a step, at most; where nobody decodes, of the whole step
  double step_seconds = 0.25;
  double stall_ratio = 1.0;  // added work relative to the decoding rows' own time
};

// A step has at least so many prefill rows to spend, whatever they take.
constexpr int32_t kMinPrefillRows = 16;

class TokenBudgetController {
 public:
  explicit TokenBudgetController(const TokenBudgetOptions& options) : options_(options) {}

  // Rows for the next step when `decoding` sequences decode and vision work is waiting or not: as
  // few as can be while nothing is known, and at most twice as many as a step has had before. Where
  // nobody decodes and the least step takes more than half of `step_seconds`, a step may take twice
  // the time of the least one, since reading the weights for each few rows would take most of it.
  StepBudget Rows(int decoding, bool vision_waits) const;
  // Floating-point operations of the vision encoder beside `decoding` sequences; 0 while nothing is
  // known, for as little as possible.
  double VisionFlops(int decoding) const;

  void LearnForward(int32_t decoding_rows, int32_t prefill_rows, double seconds);
  void LearnVision(double flops, double seconds);

 private:
  double AddedSeconds(int decoding) const;

  TokenBudgetOptions options_;
  double row_seconds_ = 0;          // of a step with one decoding row only
  double least_step_seconds_ = 0;   // of a step with kMinPrefillRows only
  double decode_seconds_ = 0;       // of a step with decoding rows only
  double prefill_row_seconds_ = 0;  // of one more prefill row
  int32_t most_prefill_rows_ = 0;   // of any step
  double vision_seconds_per_flop_ = 0;
};

}  // namespace tessera
