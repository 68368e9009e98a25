#include "engine/sample/step_tokens.h"

#include <array>
#include <cmath>

#include "engine/base/check.h"

namespace tessera {

StepTokens::StepTokens(Backend& backend, Tensor logits, int64_t columns,
                       std::span<const RowSampling> samplings, Tensor sampled)
    : columns_(columns), stride_(logits.cols()) {
  TESSERA_CHECK(static_cast<int64_t>(samplings.size()) == logits.rows());
  std::vector<int32_t> whole;
  std::vector<SampleParams> samples;
  std::vector<LogitAdjustment> adjustments;
  for (size_t i = 0; i < samplings.size(); ++i) {
    whole_.push_back(samplings[i].whole ? static_cast<int64_t>(whole.size()) : -1);
    if (samplings[i].whole) whole.push_back(static_cast<int32_t>(i));
    samples.push_back(samplings[i].sample);
    for (const LogitAdjustment& adjustment : samplings[i].adjustments) {
      adjustments.push_back(adjustment);
      adjustments.back().row = static_cast<int32_t>(i);
    }
  }
  const Largest largest = backend.ArgMax(logits, columns);
  std::vector<Download> raw = {{largest.values, largest_}};
  if (!whole.empty()) {
    const auto count = static_cast<int64_t>(whole.size());
    raw.emplace_back(count == logits.rows()
                         ? logits
                         : backend.GatherRows(logits, backend.Upload(whole, {count})),
                     logits_);
  }
  raw_copy_ = backend.StartDownload(raw);
  bool samples_any = !adjustments.empty();
  for (const SampleParams& sample : samples) samples_any = samples_any || sample.temperature > 0;
  const Tensor tokens =
      samples_any ? backend.SampleTokens(logits, columns, samples, adjustments) : largest.places;
  backend.Copy(tokens, Tensor(DType::kInt32, {tokens.elements()}, sampled.data));
  token_copy_ = backend.StartDownload(std::array{Download(tokens, tokens_)});
}

void StepTokens::Wait() {
  raw_copy_->Wait();
  token_copy_->Wait();
}

bool StepTokens::finite(size_t row) const { return std::isfinite(largest_[row]); }

std::span<const float> StepTokens::logits(size_t row) const {
  TESSERA_CHECK(whole_[row] >= 0);
  return std::span(logits_).subspan(static_cast<size_t>(whole_[row] * stride_),
                                    static_cast<size_t>(columns_));
}

}  // namespace tessera
