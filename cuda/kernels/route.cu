// Routing: logits in float32, the best experts of each row, their weights, and the order in which
// experts take rows; and the weighted sum that ends it. No counts visit the host.
#include "cuda/kernels/combine.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kRowTile = 8;  // rows that share one reading of the router

// logits[t, e] = x[t] · router[e] + bias[e]: a warp for an expert and kRowTile rows. Lanes take
// every 32nd product and are then summed, whatever rows are beside.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    LogitsKernel(const T* x, int64_t rows, int64_t hidden, const float* router, int experts,
                 const float* bias, float* logits) {
  gpu::WaitForPrevious();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int expert = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  const int64_t first = int64_t{blockIdx.y} * kRowTile;
  if (expert >= experts) return;  // the whole warp
  float sums[kRowTile] = {};
  for (int64_t c = lane; c < hidden; c += 32) {
    const float weight = router[expert * hidden + c];
#pragma unroll
    for (int r = 0; r < kRowTile; ++r) {
      if (first + r < rows) {
        sums[r] = fmaf(ToFloat(x[(first + r) * hidden + c]), weight, sums[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRowTile; ++r) {
    const float sum = WarpSum(sums[r]);
    if (lane == 0 && first + r < rows) {
      logits[(first + r) * experts + expert] = bias == nullptr ? sum : sum + bias[expert];
    }
  }
}

// Whether expert a with score x comes before expert b with score y: the larger score, the lower of
// equals; NaN comes last.
__device__ __forceinline__ bool Better(float x, int a, float y, int b) {
  const bool nan_x = !(x == x);
  const bool nan_y = !(y == y);
  if (nan_x != nan_y) return nan_y;
  return nan_x || x == y ? a < b : x > y;
}

// The best of the experts that are not among `chosen` [count], by logits plus noise (or null); one
// warp calls.
__device__ int BestExpert(const float* logits, const float* noise, int experts,
                          const int32_t* chosen, int count) {
  float best_score = 0;
  int best = experts;  // none
  for (int e = static_cast<int>(threadIdx.x) % 32; e < experts; e += 32) {
    bool taken = false;
    for (int j = 0; j < count; ++j) taken |= chosen[j] == e;
    if (taken) continue;
    const float score = noise == nullptr ? logits[e] : logits[e] + noise[e];
    if (best == experts || Better(score, e, best_score, best)) {
      best = e;
      best_score = score;
    }
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const float score = gpu::ShuffleXor(best_score, mask);
    const int expert = gpu::ShuffleXor(best, mask);
    if (expert == experts) continue;
    if (best == experts || Better(score, expert, best_score, best)) {
      best = expert;
      best_score = score;
    }
  }
  return best;
}

// A warp for each row: its choices, best first, and their probabilities, rounded to T.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    ChooseKernel(const float* all_logits, const float* all_noise, int64_t rows, int experts,
                 int choices, bool renormalize, int32_t* all_chosen, float* all_weights) {
  gpu::WaitForPrevious();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const float* logits = all_logits + row * experts;
  const float* noise = all_noise == nullptr ? nullptr : all_noise + row * experts;
  int32_t* chosen = all_chosen + row * choices;
  float* weights = all_weights + row * choices;
  float most = -INFINITY;
  for (int e = lane; e < experts; e += 32) most = fmaxf(most, logits[e]);
  most = WarpMax(most);
  float total = 0;
  for (int e = lane; e < experts; e += 32) total += expf(logits[e] - most);
  total = WarpSum(total);

  float sum = 0;
  for (int j = 0; j < choices; ++j) {
    const int best = BestExpert(logits, j == 0 ? nullptr : noise, experts, chosen, j);
    sum += expf(logits[best] - most) / total;
    if (lane == 0) chosen[j] = best;
    gpu::SyncWarp();
  }
  sum = renormalize ? fmaxf(sum, 1.1920929e-7f) : 1.0f;  // ε of float32, should all vanish
  for (int j = lane; j < choices; j += 32) {
    weights[j] = ToFloat(Round<T>(expf(logits[chosen[j]] - most) / total / sum));
  }
}

// A block for each expert finds its choices by looking at all of them: a counting sort without
// counts to wait for. Choices stay in order, so the result is that of the sort on one thread.
__global__ void __launch_bounds__(kThreads)
    SortKernel(const int32_t* chosen, int total, int choices, int32_t* starts, int32_t* sorted_rows,
               int32_t* places) {
  gpu::WaitForPrevious();
  __shared__ int mine_of[kWarps];
  __shared__ int before_of[kWarps];
  const int expert = static_cast<int>(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int before = 0;  // choices of experts before this one
  for (int i = threadIdx.x; i < total; i += kThreads) before += chosen[i] < expert ? 1 : 0;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) before += gpu::ShuffleXor(before, mask);
  if (lane == 0) before_of[warp] = before;
  gpu::SyncBlock();
  int place = 0;
  for (int w = 0; w < kWarps; ++w) place += before_of[w];
  if (threadIdx.x == 0) starts[expert] = place;
  for (int begin = 0; begin < total; begin += kThreads) {
    const int i = begin + static_cast<int>(threadIdx.x);
    const bool mine = i < total && chosen[i] == expert;
    const uint32_t votes = gpu::Ballot(mine);
    if (lane == 0) mine_of[warp] = __popc(votes);
    gpu::SyncBlock();
    int at = place + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) at += mine_of[w];
      place += mine_of[w];
    }
    if (mine) {
      sorted_rows[at] = i / choices;
      places[i] = at;
    }
    gpu::SyncBlock();
  }
  if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1) starts[gridDim.x] = place;
}

template <typename T>
__global__ void CombineKernel(Combined<T> from, int64_t cols, T* result) {
  gpu::WaitForPrevious();
  const int64_t row = blockIdx.x;
  const bool aligned = cols % 8 == 0;
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    float sum[8];
    CombineEight(from, row, c, cols, aligned, sum);
    StoreEight(sum, c, cols, aligned, result + row * cols);
  }
}

unsigned Blocks(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace

void Route(Tensor x, Tensor router, Tensor bias, const RouterConfig& config, Tensor noise,
           const Routing& result, Stream stream) {
  const int64_t rows = x.rows();
  const auto experts = static_cast<int>(router.rows());
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    gpu::Launch(LogitsKernel<T>, {dim3(Blocks(experts, kWarps), Blocks(rows, kRowTile)), kThreads},
                stream, x.as<T>(), rows, x.cols(), router.as<float>(), experts, bias.as<float>(),
                result.logits.as<float>());
    gpu::Launch(ChooseKernel<T>, {dim3(Blocks(rows, kWarps)), kThreads}, stream,
                result.logits.as<float>(), noise.as<float>(), rows, experts,
                config.experts_per_token, config.renormalize, result.experts.as<int32_t>(),
                result.weights.as<float>());
  });
  gpu::Launch(SortKernel, {dim3(static_cast<unsigned>(router.rows())), kThreads}, stream,
              result.experts.as<int32_t>(), static_cast<int>(result.experts.elements()),
              config.experts_per_token, result.expert_starts.as<int32_t>(),
              result.sorted_rows.as<int32_t>(), result.places.as<int32_t>());
}

void WeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y, Stream stream) {
  ForDType(x.dtype, [&](auto element) {
    using T = decltype(element);
    const Combined<T> from = {x.as<T>(), rows.as<int32_t>(), weights.as<float>(),
                              static_cast<int>(rows.cols())};
    gpu::Launch(CombineKernel<T>, {dim3(static_cast<unsigned>(y.rows())), kThreads}, stream, from,
                x.cols(), y.as<T>());
  });
}

}  // namespace tessera::cuda
