// What the host sees of a step's logits: of rows that take the largest only that, of others all. So
// greedy answers leave a device's logits where they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/backend/backend.h"

namespace tessera {

class StepLogits {
 public:
  // logits float32 [rows, ≥ columns] in the step arena; `whole[i]`: row i is needed whole. Waits
  // for the device.
  StepLogits(Backend& backend, Tensor logits, int64_t columns, const std::vector<bool>& whole);

  // The place of the row's largest logit, and that logit; NaN where any is.
  int32_t largest(size_t row) const { return places_[row]; }
  float largest_value(size_t row) const { return values_[row]; }
  // [columns] of a row that was asked for whole.
  std::span<const float> row(size_t row) const;

 private:
  int64_t columns_;
  int64_t stride_;
  std::vector<int32_t> places_;
  std::vector<float> values_;
  std::vector<int64_t> whole_;  // by row: which of the downloaded ones it is, -1 for none
  std::vector<float> logits_;   // [downloaded rows, stride]
};

}  // namespace tessera
