#include "engine/step_logits.h"

#include "engine/check.h"

namespace tessera {

StepLogits::StepLogits(Backend& backend, Tensor logits, int64_t columns,
                       const std::vector<bool>& whole)
    : columns_(columns), stride_(logits.cols()) {
  TESSERA_CHECK(static_cast<int64_t>(whole.size()) == logits.rows());
  std::vector<int32_t> rows;
  for (size_t i = 0; i < whole.size(); ++i) {
    whole_.push_back(whole[i] ? static_cast<int64_t>(rows.size()) : -1);
    if (whole[i]) rows.push_back(static_cast<int32_t>(i));
  }
  const Largest largest = backend.ArgMax(logits, columns);
  if (!rows.empty()) {
    const auto count = static_cast<int64_t>(rows.size());
    const bool all = count == logits.rows();
    logits_ = backend.DownloadFloats(
        all ? logits : backend.GatherRows(logits, backend.Upload(rows, {count})));
  }
  places_ = backend.DownloadInts(largest.places);
  values_ = backend.DownloadFloats(largest.values);
}

std::span<const float> StepLogits::row(size_t row) const {
  TESSERA_CHECK(whole_[row] >= 0);
  return std::span(logits_).subspan(static_cast<size_t>(whole_[row] * stride_),
                                    static_cast<size_t>(columns_));
}

}  // namespace tessera
