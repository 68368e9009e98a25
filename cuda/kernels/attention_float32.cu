// Attention of float32 on the CUDA cores: a warp has four rows.
#include "cuda/kernels/attention_kernel.h"
#include "cuda/kernels/reduce.h"
#include "engine/base/check.h"

namespace tessera::cuda {
namespace {

// Lane l has keys l and l + 32 of a key tile, and dims l, l + 32, … of all four rows. kDim is
// head_dim rounded up; dims beyond head_dim hold anything.
template <int kDim>
class FloatWarp {
 public:
  using Element = float;
  static constexpr int kRows = kWarpRows<float>;
  static constexpr int kBlocks = 1;
  static constexpr int kStride = kDim + 4;  // an odd number of 16 bytes: no eight rows share banks

  // Queries, then weights; totals are in registers.
  static size_t SharedBytes(int warps, bool) {
    return sizeof(float) * warps * kRows * (kStride + kKeyTile);
  }

  __device__ FloatWarp(const AttentionTask<float>& task, const RowTile& tile, float*,
                       float* queries)
      : task_(task), tile_(tile), lane_(static_cast<int>(threadIdx.x % 32)) {
    const int rows = static_cast<int>(blockDim.x) / 32 * kRows;
    first_ = static_cast<int>(threadIdx.x) / 32 * kRows;
    queries_ = queries + first_ * kStride;
    weights_ = queries + rows * kStride + first_ * kKeyTile;
    CopyQueries<float, kStride>(task, tile, rows, queries);
    Restart();
  }

  __device__ __forceinline__ void TakeQueries() {}

  __device__ __forceinline__ void Score(const float* keys) {
    const float* const low = keys + lane_ * kStride;
    const float* const high = low + 32 * kStride;
#pragma unroll
    for (int r = 0; r < kRows; ++r) scores_[r][0] = scores_[r][1] = 0;
#pragma unroll 2
    for (int d = 0; d < task_.head_dim; d += 4) {
      const float4 a = Four(low + d);
      const float4 b = Four(high + d);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 query = Four(queries_ + r * kStride + d);
        scores_[r][0] = Dot(query, a, scores_[r][0]);
        scores_[r][1] = Dot(query, b, scores_[r][1]);
      }
    }
  }

  // Scores become weights, which all lanes share.
  __device__ __forceinline__ void Soften(int key_tile) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const KeyRange seen = Visible(task_, tile_, first_ + r);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = key_tile * kKeyTile + lane_ + 32 * i;
        if (key < seen.first || key > seen.last) scores_[r][i] = -INFINITY;
      }
      const float most = WarpMax(fmaxf(scores_[r][0], scores_[r][1]));
      const SoftmaxStep step = Raise(largest_[r], most * task_.scale);
      const float low = Weight(scores_[r][0], task_.scale, step.offset);
      const float high = Weight(scores_[r][1], task_.scale, step.offset);
      weight_[r] = fmaf(weight_[r], step.factor, low + high);
      weights_[r * kKeyTile + lane_] = low;
      weights_[r * kKeyTile + lane_ + 32] = high;
#pragma unroll
      for (int j = 0; j < kParts; ++j) sums_[r][j] *= step.factor;
    }
  }

  __device__ __forceinline__ void AddValues(const float* values) {
    const float* const from = values + lane_;
#pragma unroll 2
    for (int key = 0; key < kKeyTile; key += 4) {
      float4 weights[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) weights[r] = Four(weights_ + r * kKeyTile + key);
#pragma unroll
      for (int j = 0; j < kParts; ++j) {
        const float* const at = from + key * kStride + 32 * j;
        const float4 value = {at[0], at[kStride], at[2 * kStride], at[3 * kStride]};
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums_[r][j] = Dot(weights[r], value, sums_[r][j]);
      }
    }
  }

  __device__ __forceinline__ void CloseSplit() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) weight_[r] = WarpSum(weight_[r]);
  }

  __device__ __forceinline__ void Join() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const SplitJoin join =
          JoinSplits(total_largest_[r], total_weight_[r], largest_[r], weight_[r]);
      largest_[r] = total_largest_[r];
      weight_[r] = total_weight_[r];
#pragma unroll
      for (int j = 0; j < kParts; ++j) sums_[r][j] = Joined(totals_[r][j], sums_[r][j], join);
    }
  }

  __device__ __forceinline__ void Keep() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      total_largest_[r] = largest_[r];
      total_weight_[r] = weight_[r];
#pragma unroll
      for (int j = 0; j < kParts; ++j) totals_[r][j] = sums_[r][j];
    }
    Restart();
  }

  __device__ __forceinline__ void WritePartial(int split) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first_ + r >= tile_.rows) continue;
      const QueryHead at = QueryHeadOf(task_, tile_, first_ + r);
      const int64_t i = PartialIndex(task_, tile_.sequence, at.query, at.head, split);
      if (lane_ == 0) task_.partial_sums[i] = {largest_[r], weight_[r]};
#pragma unroll
      for (int j = 0; j < kParts; ++j) {
        const int d = lane_ + 32 * j;
        if (d < task_.head_dim) task_.partial_values[i * task_.head_dim + d] = sums_[r][j];
      }
    }
  }

  __device__ __forceinline__ void WriteResult() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first_ + r >= tile_.rows) continue;
      float* const to = ResultRow(task_, QueryHeadOf(task_, tile_, first_ + r));
      const float inverse = 1.0f / weight_[r];
#pragma unroll
      for (int j = 0; j < kParts; ++j) {
        const int d = lane_ + 32 * j;
        if (d < task_.head_dim) to[d] = Finished(sums_[r][j], inverse);
      }
    }
  }

 private:
  static constexpr int kParts = kDim / 32;

  static __device__ __forceinline__ float4 Four(const float* values) {
    return *reinterpret_cast<const float4*>(values);
  }
  static __device__ __forceinline__ float Dot(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
  }

  __device__ __forceinline__ void Restart() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      largest_[r] = -INFINITY;
      weight_[r] = 0;
#pragma unroll
      for (int j = 0; j < kParts; ++j) sums_[r][j] = 0;
    }
  }

  const AttentionTask<float>& task_;
  const RowTile& tile_;
  const int lane_;
  int first_;             // the warp's first row of the tile
  const float* queries_;  // of the warp [kRows, kStride]
  float* weights_;        // of the warp [kRows, kKeyTile]
  float scores_[kRows][2];
  float sums_[kRows][kParts];
  float largest_[kRows];
  float weight_[kRows];  // sum of the weights; of this lane's keys until the split is closed
  float totals_[kRows][kParts];
  float total_largest_[kRows];
  float total_weight_[kRows];
};

}  // namespace

void LaunchAttend(const AttentionTask<float>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream) {
  TESSERA_CHECK(task.head_dim <= 256);
  if (task.head_dim <= 64) {
    LaunchWarps<FloatWarp<64>, StoredTiles>(task, blocks, few, totals, stream);
  } else if (task.head_dim <= 128) {
    LaunchWarps<FloatWarp<128>, StoredTiles>(task, blocks, few, totals, stream);
  } else {
    LaunchWarps<FloatWarp<256>, StoredTiles>(task, blocks, few, totals, stream);
  }
}

}  // namespace tessera::cuda
