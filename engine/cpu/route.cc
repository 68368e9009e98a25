// Who computes what: router logits, choices, weights, and the order in which experts take the rows.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/router_logits.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

// The index of the largest value that is not taken; the lowest of equals.
int32_t BestFree(const float* scores, int64_t count, std::span<const int32_t> taken) {
  int32_t best = -1;
  for (int32_t e = 0; e < count; ++e) {
    if (std::find(taken.begin(), taken.end(), e) != taken.end()) continue;
    if (best < 0 || scores[e] > scores[best]) best = e;
  }
  return best;
}

// Fills chosen[known…] with the indices of the largest values, best first, the lower of equals
// first. Values that are larger than nothing, as NaN, come last; those of chosen[0, known) are -∞.
void TakeLargest(const float* scores, int64_t count, size_t known, std::span<int32_t> chosen) {
  const std::span<int32_t> top = chosen.subspan(known);
  size_t found = 0;
  for (int32_t e = 0; e < count && !top.empty(); ++e) {
    const float score = scores[e];
    if (!(score > -std::numeric_limits<float>::infinity())) continue;
    if (found == top.size() && !(score > scores[top.back()])) continue;
    size_t i = found < top.size() ? found++ : top.size() - 1;
    for (; i > 0 && score > scores[top[i - 1]]; --i) top[i] = top[i - 1];
    top[i] = e;
  }
  for (size_t i = known + found; i < chosen.size(); ++i) {
    chosen[i] = BestFree(scores, count, chosen.first(i));
  }
}

// The first choice by logit, the others by logit plus noise; `noisy` [experts] is scratch.
void Choose(const float* logits, const float* noise, int64_t experts, std::span<int32_t> chosen,
            float* noisy) {
  if (noise == nullptr) return TakeLargest(logits, experts, 0, chosen);
  chosen[0] = BestFree(logits, experts, {});
  for (int64_t e = 0; e < experts; ++e) noisy[e] = logits[e] + noise[e];
  noisy[chosen[0]] = -std::numeric_limits<float>::infinity();
  TakeLargest(noisy, experts, 1, chosen);
}

// Probabilities of the chosen experts, without the noise.
void Weigh(const float* logits, int64_t experts, std::span<const int32_t> chosen, bool renormalize,
           float* weights) {
  const float most = *std::max_element(logits, logits + experts);
  float total = 0;
  for (int64_t e = 0; e < experts; ++e) total += std::exp(logits[e] - most);
  float sum = 0;
  for (size_t j = 0; j < chosen.size(); ++j) {
    weights[j] = std::exp(logits[chosen[j]] - most) / total;
    sum += weights[j];
  }
  if (!renormalize) return;
  sum = std::max(sum, std::numeric_limits<float>::epsilon());
  for (size_t j = 0; j < chosen.size(); ++j) weights[j] /= sum;
}

// Counting sort by expert; rows stay in order within each.
void SortByExpert(const Routing& routing) {
  const int64_t rows = routing.experts.rows();
  const int64_t choices = routing.experts.cols();
  const int64_t experts = routing.logits.cols();
  const auto* chosen = routing.experts.as<int32_t>();
  auto* starts = routing.expert_starts.as<int32_t>();
  std::fill_n(starts, experts + 1, 0);
  for (int64_t i = 0; i < rows * choices; ++i) ++starts[chosen[i] + 1];
  for (int64_t e = 0; e < experts; ++e) starts[e + 1] += starts[e];
  std::vector<int32_t> next(starts, starts + experts);
  for (int64_t i = 0; i < rows * choices; ++i) {
    const int32_t place = next[chosen[i]]++;
    routing.places.as<int32_t>()[i] = place;
    routing.sorted_rows.as<int32_t>()[place] = static_cast<int32_t>(i / choices);
  }
}

}  // namespace

void CpuBackend::DoRoute(Tensor x, Tensor router, Tensor bias, const RouterConfig& config,
                         Tensor noise, const Routing& result) {
  const int64_t hidden = x.cols();
  const int64_t experts = router.rows();
  const int64_t choices = config.experts_per_token;
  constexpr int64_t kSpan = 8;
  float* scratch = arena_.New<float>(threads_ * (kSpan * hidden + experts));
  const auto choose = [&](int64_t t, float* values) {
    float* logits = result.logits.as<float>() + t * experts;
    float* weights = result.weights.as<float>() + t * choices;
    const std::span<int32_t> chosen(result.experts.as<int32_t>() + t * choices, choices);
    if (!bias.empty()) rows::Add(bias.as<float>(), experts, logits);
    Choose(logits, noise.empty() ? nullptr : noise.as<float>() + t * experts, experts, chosen,
           values);
    Weigh(logits, experts, chosen, config.renormalize, weights);
    rows::Narrow(weights, x.dtype, choices, values);
    rows::Widen(values, x.dtype, choices, weights);
  };
  ParallelSpans(threads_, x.rows(), kSpan, 2.0 * x.elements() * experts,
                [&](int64_t begin, int64_t end, int thread) {
                  float* wide = scratch + thread * (kSpan * hidden + experts);
                  rows::Widen(x.Rows(begin, end - begin).data, x.dtype, (end - begin) * hidden,
                              wide);
                  RouterLogits(wide, end - begin, router.as<float>(), experts, hidden,
                               result.logits.as<float>() + begin * experts);
                  for (int64_t t = begin; t < end; ++t) choose(t, wide + kSpan * hidden);
                });
  SortByExpert(result);
}

}  // namespace tessera
