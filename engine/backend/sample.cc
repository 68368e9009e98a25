#include "engine/backend/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/base/check.h"

namespace tessera {
namespace {

struct Candidate {
  int32_t id;
  float logit;
  uint64_t weight;
};

int32_t PlaceOfLargest(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return static_cast<int32_t>(i);
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<int32_t>(best);
}

uint64_t Total(std::span<const Candidate> candidates) {
  uint64_t total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  return total;
}

// Cuts `candidates`, in order of their ids, down to those that are kept, in any order.
void Keep(const SampleParams& sample, std::vector<Candidate>& candidates) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  if (sample.top_k > 0 && static_cast<size_t>(sample.top_k) < candidates.size()) {
    candidates.resize(static_cast<size_t>(sample.top_k));
  }
  const double enough =
      sample.top_p < 1 ? std::ceil(double{sample.top_p} * static_cast<double>(Total(candidates)))
                       : std::numeric_limits<double>::infinity();
  const double least = double{sample.min_p} * kWeightUnits;
  uint64_t reached = 0;
  size_t kept = 0;
  while (kept < candidates.size() &&
         (kept == 0 || (static_cast<double>(reached) < enough &&
                        static_cast<double>(candidates[kept].weight) >= least))) {
    reached += candidates[kept++].weight;
  }
  candidates.resize(kept);
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

}  // namespace

int32_t SampleToken(std::span<const float> logits, const SampleParams& sample) {
  TESSERA_CHECK(!logits.empty() && static_cast<int64_t>(logits.size()) <= kMaxSampled);
  const int32_t largest = PlaceOfLargest(logits);
  const float best = logits[static_cast<size_t>(largest)];
  if (sample.temperature == 0 || !std::isfinite(best)) return largest;
  std::vector<Candidate> candidates;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double over = (static_cast<double>(logits[id]) - best) / sample.temperature;
    const auto weight = static_cast<uint64_t>(std::exp(over) * kWeightUnits);
    if (weight > 0) candidates.push_back({static_cast<int32_t>(id), logits[id], weight});
  }
  if (sample.top_k > 0 || sample.top_p < 1 || sample.min_p > 0) Keep(sample, candidates);
  const uint64_t total = Total(candidates);
  uint64_t left =
      std::min(static_cast<uint64_t>(sample.uniform * static_cast<double>(total)), total - 1);
  size_t at = 0;
  while (left >= candidates[at].weight) left -= candidates[at++].weight;
  return candidates[at].id;
}

}  // namespace tessera
