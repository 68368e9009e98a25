#include "engine/sample/step_tokens.h"

#include <array>
#include <cmath>

#include "engine/base/check.h"

namespace tessera {

StepTokens::StepTokens(Backend& backend, Tensor logits, int64_t columns,
                       std::span<const RowSampling> samplings, Tensor drawn)
    : columns_(columns), stride_(logits.cols()) {
  TESSERA_CHECK(static_cast<int64_t>(samplings.size()) == logits.rows());
  std::vector<int32_t> whole;
  std::vector<Draw> draws;
  std::vector<LogitEdit> edits;
  for (size_t i = 0; i < samplings.size(); ++i) {
    whole_.push_back(samplings[i].whole ? static_cast<int64_t>(whole.size()) : -1);
    if (samplings[i].whole) whole.push_back(static_cast<int32_t>(i));
    draws.push_back(samplings[i].draw);
    for (const LogitEdit& edit : samplings[i].edits) {
      edits.push_back(edit);
      edits.back().row = static_cast<int32_t>(i);
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
  raw_arrival_ = backend.StartDownload(raw);
  bool draws_any = !edits.empty();
  for (const Draw& draw : draws) draws_any = draws_any || draw.temperature > 0;
  const Tensor tokens =
      draws_any ? backend.DrawTokens(logits, columns, draws, edits) : largest.places;
  backend.Copy(tokens, Tensor(DType::kInt32, {tokens.elements()}, drawn.data));
  token_arrival_ = backend.StartDownload(std::array{Download(tokens, tokens_)});
}

void StepTokens::Wait() {
  raw_arrival_->Wait();
  token_arrival_->Wait();
}

bool StepTokens::finite(size_t row) const { return std::isfinite(largest_[row]); }

std::span<const float> StepTokens::logits(size_t row) const {
  TESSERA_CHECK(whole_[row] >= 0);
  return std::span(logits_).subspan(static_cast<size_t>(whole_[row] * stride_),
                                    static_cast<size_t>(columns_));
}

}  // namespace tessera
