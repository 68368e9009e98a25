// How much prefill and vision work a step may take beside the rows that are decoding, so that an arriving picture or a long prompt
// does not stall them: learned from the times of past steps.
//
// Thread: the engine's. Results of requests never depend on it, only when they arrive.
#pragma once

#include "engine/scheduler.h"

namespace tessera {

struct PaceOptions {
  int32_t step_rows = 512;
  double step_seconds = 0.25;  // of added work in a step, at most
  double stall_ratio = 1.0;    // added work relative to the decoding rows' own time
};

class Pace {
 public:
  explicit Pace(const PaceOptions& options) : options_(options) {}

  // Rows for the next step when `decoding` sequences decode and vision work is waiting or not.
  StepBudget Rows(int decoding, bool vision_waits) const;
  // Floating-point operations of the vision encoder beside `decoding` sequences; 0 while nothing is known, for as little as possible.
  double VisionFlops(int decoding) const;

  void LearnForward(int32_t decoding_rows, int32_t prefill_rows, double seconds);
  void LearnVision(double flops, double seconds);

 private:
  double AddedSeconds(int decoding) const;

  PaceOptions options_;
  double decode_seconds_ = 0;         // of a step with decoding rows only
  double prefill_row_seconds_ = 0;    // of one more prefill row
  double vision_seconds_per_flop_ = 0;
};

}  // namespace tessera
