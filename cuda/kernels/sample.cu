// Tokens sampled from logits, as engine/backend/sample.h defines it: a block for each row. What is
// kept is found by its least logit, digit by digit of the logits' bits as an unsigned number (a
// radix select): weights are integers, so their sums in shared memory are the same in any order.
#include "cuda/kernels/kernels.h"
#include "gpu/gpu.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kDigits = 256;
using Sum = unsigned long long;

struct Row {
  const float* logits;
  int columns;
  float best;  // finite
  float temperature;

  __device__ Sum Weight(float logit) const {
    const double over = (static_cast<double>(logit) - best) / temperature;
    return static_cast<Sum>(exp(over) * kWeightUnits);
  }
};

// Orders as the logits do, equal for equal ones; no NaNs come here.
__device__ __forceinline__ uint32_t Key(float logit) {
  const uint32_t bits = gpu::FloatBits(logit + 0.0f);  // one zero
  return bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float LogitOf(uint32_t key) {
  return gpu::BitsFloat(key ^ (key >> 31 != 0 ? 0x80000000u : 0xffffffffu));
}

// What is kept: all of larger keys, and of equal ones the first `ties`.
struct Cutoff {
  uint32_t key = 0;
  Sum ties = 0;
};

// The values of lanes up to this one.
__device__ __forceinline__ Sum SumThrough(Sum value) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const Sum other = gpu::Shuffle(value, lane < step ? lane : lane - step);
    if (lane >= step) value += other;
  }
  return value;
}

struct Selected {
  int digit;
  Sum above;  // what lies above the digit
};

// The largest digit where `above` and what lies in it and higher ones is enough; the lowest one
// where there is none. The first warp calls.
template <typename Enough>
__device__ Selected FindDigit(const Sum* digits, Sum above, const Enough& enough) {
  const int lane = static_cast<int>(threadIdx.x);
  const int highest = kDigits - 1 - lane * (kDigits / 32);
  Sum mine = 0;
  for (int i = 0; i < kDigits / 32; ++i) mine += digits[highest - i];
  const Sum through = SumThrough(mine);
  Sum reached = above + through - mine;
  int digit = highest;
  for (int i = 0; i < kDigits / 32 - 1 && !enough(reached + digits[digit]); ++i) {
    reached += digits[digit--];
  }
  const uint32_t lanes = gpu::Ballot(enough(above + through));
  const int finder = lanes == 0 ? 31 : __ffs(lanes) - 1;
  return {gpu::Shuffle(digit, finder), gpu::Shuffle(reached, finder)};
}

// The key at which what larger ones and its own weigh is enough; `above` of the result is what
// larger ones weigh. An element weighs value(logit, key), and `more` is added at one key.
template <typename Value, typename Enough>
__device__ Cutoff Select(const Row& row, const Value& value, const Cutoff& more, Sum weight_of_more,
                         const Enough& enough, Sum* above) {
  __shared__ Sum digits[kDigits];
  __shared__ Selected selected;
  uint32_t prefix = 0;
  Sum before = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    gpu::SyncBlock();
    for (int i = threadIdx.x; i < kDigits; i += kThreads) digits[i] = 0;
    gpu::SyncBlock();
    for (int i = threadIdx.x; i < row.columns; i += kThreads) {
      const float logit = row.logits[i];
      const uint32_t key = Key(logit);
      if ((key & mask) != prefix) continue;
      const Sum weight = value(logit, key);
      if (weight > 0) atomicAdd(&digits[key >> shift & 0xff], weight);
    }
    if (threadIdx.x == 0 && weight_of_more > 0 && (more.key & mask) == prefix) {
      atomicAdd(&digits[more.key >> shift & 0xff], weight_of_more);
    }
    gpu::SyncBlock();
    if (threadIdx.x < 32) {
      const Selected found = FindDigit(digits, before, enough);
      if (threadIdx.x == 0) selected = found;
    }
    gpu::SyncBlock();
    prefix |= static_cast<uint32_t>(selected.digit) << shift;
    before = selected.above;
  }
  *above = before;
  return {prefix, 0};
}

// All values of the threads before this one; `total` of all threads.
__device__ Sum SumBefore(Sum value, Sum* total) {
  __shared__ Sum sums[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const Sum through = SumThrough(value);
  gpu::SyncBlock();
  if (lane == 31) sums[warp] = through;
  gpu::SyncBlock();
  Sum before = through - value;
  *total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += sums[w];
    *total += sums[w];
  }
  return before;
}

__device__ Cutoff TopK(const Row& row, int top_k) {
  if (top_k <= 0 || top_k >= row.columns) return {};
  const Sum wanted = static_cast<Sum>(top_k);
  Sum above = 0;
  Cutoff cutoff = Select(
      row, [](float, uint32_t) { return Sum{1}; }, {}, 0,
      [&](Sum count) { return count >= wanted; }, &above);
  cutoff.ties = wanted - above;
  return cutoff;
}

__device__ Cutoff TopP(const Row& row, float top_p, const Cutoff& kept) {
  if (!(top_p < 1)) return kept;
  const auto weight = [&](float logit, uint32_t key) {
    return key > kept.key ? row.Weight(logit) : Sum{0};
  };
  const Sum of_ties = kept.ties > 0 ? kept.ties * row.Weight(LogitOf(kept.key)) : 0;
  Sum mine = threadIdx.x == 0 ? of_ties : 0;
  for (int i = threadIdx.x; i < row.columns; i += kThreads) {
    mine += weight(row.logits[i], Key(row.logits[i]));
  }
  Sum total = 0;
  SumBefore(mine, &total);
  const double wanted = ceil(static_cast<double>(top_p) * static_cast<double>(total));
  const auto enough = [&](Sum sum) { return static_cast<double>(sum) >= wanted; };
  Sum above = 0;
  Cutoff cutoff = Select(row, weight, kept, of_ties, enough, &above);
  const Sum each = row.Weight(LogitOf(cutoff.key));
  const double missing = wanted - static_cast<double>(above);
  cutoff.ties = each == 0 ? 0 : static_cast<Sum>(missing / static_cast<double>(each));
  while (cutoff.ties > 0 && enough(above + (cutoff.ties - 1) * each)) --cutoff.ties;
  while (each > 0 && !enough(above + cutoff.ties * each)) ++cutoff.ties;
  return cutoff;
}

// Each thread looks at a span of neighbouring tokens.
__global__ void __launch_bounds__(kThreads)
    SampleKernel(const float* x, int64_t stride, int columns, const SampleParams* samples,
                 const float* best, int32_t* places) {
  gpu::WaitForPrevious();
  const SampleParams sample = samples[blockIdx.x];
  const Row row = {x + blockIdx.x * stride, columns, best[blockIdx.x], sample.temperature};
  if (sample.temperature == 0 || !(fabsf(row.best) < INFINITY)) return;  // it is there already
  const Cutoff cutoff = TopP(row, sample.top_p, TopK(row, sample.top_k));
  const double least = static_cast<double>(sample.min_p) * kWeightUnits;

  const int span = (columns + kThreads - 1) / kThreads;
  const int begin = min(columns, static_cast<int>(threadIdx.x) * span);
  const int end = min(columns, begin + span);
  Sum equal = 0;
  for (int i = begin; i < end; ++i) equal += Key(row.logits[i]) == cutoff.key ? 1 : 0;
  Sum total = 0;
  const Sum equal_before = SumBefore(equal, &total);
  // Of token i; `seen` counts those equal to the cutoff before it.
  const auto weight = [&](int i, Sum* seen) {
    const float logit = row.logits[i];
    const uint32_t key = Key(logit);
    if (key < cutoff.key || (key == cutoff.key && (*seen)++ >= cutoff.ties)) return Sum{0};
    const Sum units = row.Weight(logit);
    return static_cast<double>(units) >= least ? units : Sum{0};
  };
  Sum mine = 0;
  Sum seen = equal_before;
  for (int i = begin; i < end; ++i) mine += weight(i, &seen);
  const Sum before = SumBefore(mine, &total);
  const Sum sampled = min(static_cast<Sum>(sample.uniform * static_cast<double>(total)), total - 1);
  if (sampled < before || sampled >= before + mine) return;
  Sum left = sampled - before;
  seen = equal_before;
  for (int i = begin; i < end; ++i) {
    const Sum units = weight(i, &seen);
    if (left < units) {
      places[blockIdx.x] = i;
      return;
    }
    left -= units;
  }
}

__global__ void __launch_bounds__(kThreads)
    AdjustLogitsKernel(float* x, int64_t stride, const LogitAdjustment* adjustments, int count) {
  gpu::WaitForPrevious();
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i >= count) return;
  const LogitAdjustment adjustment = adjustments[i];
  float* logit = x + adjustment.row * stride + adjustment.id;
  if (adjustment.repetition != 1) {
    *logit = *logit > 0 ? *logit / adjustment.repetition : *logit * adjustment.repetition;
  }
  *logit += adjustment.added;
}

}  // namespace

void AdjustLogits(Tensor x, const LogitAdjustment* adjustments, int count, Stream stream) {
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  gpu::Launch(AdjustLogitsKernel, {dim3(blocks), kThreads}, stream, x.as<float>(), x.cols(),
              adjustments, count);
}

void SampleTokens(Tensor x, int64_t columns, const SampleParams* samples, const Largest& largest,
                  Stream stream) {
  gpu::Launch(SampleKernel, {dim3(static_cast<unsigned>(x.rows())), kThreads}, stream,
              x.as<float>(), x.cols(), static_cast<int>(columns), samples,
              largest.values.as<float>(), largest.places.as<int32_t>());
}

}  // namespace tessera::cuda
