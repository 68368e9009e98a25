// The tokens that follow from a step's logits, chosen on the device: logits come to the host only
// for rows whose log-probabilities somebody wants.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/sample/sampler.h"

namespace tessera {

class StepTokens {
 public:
  // logits float32 [rows, ≥ columns] in the step arena, edited in place; one of `samplings` for
  // each row. The tokens go to the first rows of `sampled`, too, int32 [≥ rows], for steps that are
  // queued before the host knows them. Does not wait for the device.
  StepTokens(Backend& backend, Tensor logits, int64_t columns,
             std::span<const RowSampling> samplings, Tensor sampled);

  // For the device; before what follows.
  void Wait();
  int32_t token(size_t row) const { return tokens_[row]; }
  // Whether the row's logits are numbers below infinity.
  bool finite(size_t row) const;
  // The row as the model gave it, [columns], where it was asked for whole.
  std::span<const float> logits(size_t row) const;

 private:
  int64_t columns_;
  int64_t stride_;
  std::vector<int32_t> tokens_;
  std::vector<float> largest_;  // of the logits as the model gave them; NaN where any is
  std::vector<int64_t> whole_;  // by row: which of the downloaded ones it is, -1 for none
  std::vector<float> logits_;   // [downloaded rows, stride]
  std::unique_ptr<PendingCopy> raw_copy_;  // of the logits and their largest
  std::unique_ptr<PendingCopy> token_copy_;
};

}  // namespace tessera
