// Attention of bfloat16 and float16 on tensor cores: a warp has 16 rows, whose scores and sums are
// mma.m16n8k16 accumulators in registers.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/kernels/attention_kernel.h"
#include "engine/base/check.h"

namespace tessera::cuda {

// Lane 4 g + t has rows g and g + 8 of the warp's, and of each eight keys or dims 2t and 2t + 1:
// scores_[n][2 r + c] is row g + 8 r, key 8 n + 2t + c, sums_ likewise with dims. kDim is head_dim
// rounded up; dims beyond head_dim are zeros in shared memory.
template <typename T, int kDim>
class HalfWarp {
 public:
  using Element = T;
  static constexpr int kDims = kDim;
  static constexpr int kRows = kWarpRows<T>;
  static constexpr int kBlocks = kDim <= 80 ? 3 : kDim <= 128 ? 2 : 1;
  static constexpr int kStride = kDim + 8;  // an odd number of 16 bytes: ldmatrix meets all banks

  // Queries, then totals; over each other where queries move to registers.
  static size_t SharedBytes(int warps, bool totals) {
    const size_t query_bytes = size_t{2} * warps * kRows * kStride;
    const size_t total_bytes = totals ? size_t{4} * warps * kRows * kDim : 0;
    return kQueriesStay ? query_bytes + total_bytes : std::max(query_bytes, total_bytes);
  }

  __device__ HalfWarp(const AttentionTask<T>& task, const RowTile& tile, T* tiles, T* queries)
      : task_(task), tile_(tile), lane_(static_cast<int>(threadIdx.x % 32)) {
    const int rows = static_cast<int>(blockDim.x) / 32 * kRows;
    const int first = static_cast<int>(threadIdx.x) / 32 * kRows;
    queries_ = queries + (first + lane_ % 16) * kStride + lane_ / 16 * 8;
    T* const totals = kQueriesStay ? queries + rows * kStride : queries;
    totals_ = reinterpret_cast<float*>(totals) + first * kDim + lane_;
    row_totals_ = tiles + (first + lane_ / 4) * kStride + kDim;
    ZeroPads(tiles, static_cast<int>(queries - tiles) / kStride + rows);
    CopyQueries<T, kStride>(task, tile, rows, queries);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      rows_[r] = first + lane_ / 4 + 8 * r;
      seen_[r] = Visible(task, tile, rows_[r]);
    }
    Restart();
  }

  __device__ __forceinline__ void TakeQueries() {
    if constexpr (!kQueriesStay) {
#pragma unroll
      for (int k = 0; k < kSteps; ++k) gpu::LoadMatrices(taken_[k], queries_ + 16 * k);
    }
  }

  __device__ __forceinline__ void Score(const T* keys) {
    // Matrices of a load: keys [0, 8) with dims [0, 8) and [8, 16), then keys [8, 16) with both.
    const T* const from = keys + (lane_ / 16 * 8 + lane_ % 8) * kStride + lane_ / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores_[n][i] = 0;
    }
#pragma unroll(kQueriesStay ? 2 : kSteps)
    for (int k = 0; k < kSteps; ++k) {
      uint32_t query[4], key[4];
      if constexpr (kQueriesStay) {
        gpu::LoadMatrices(query, queries_ + 16 * k);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) query[i] = taken_[k][i];
      }
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; n += 2) {
        gpu::LoadMatrices(key, from + 8 * n * kStride + 16 * k);
        Multiply(scores_[n], query, key[0], key[1]);
        Multiply(scores_[n + 1], query, key[2], key[3]);
      }
    }
  }

  // Scores become weights.
  __device__ __forceinline__ void Soften(int key_tile) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      Mask(key_tile * kKeyTile + lane_ % 4 * 2, seen_[r], r);
      float most = -INFINITY;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n) {
        most = fmaxf(most, fmaxf(scores_[n][2 * r], scores_[n][2 * r + 1]));
      }
      most = fmaxf(most, gpu::ShuffleXor(most, 1));
      most = fmaxf(most, gpu::ShuffleXor(most, 2));
      const SoftmaxStep step = Raise(largest_[r], most * task_.scale);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
        for (int c = 2 * r; c < 2 * r + 2; ++c) {
          scores_[n][c] = Weight(scores_[n][c], task_.scale, step.offset);
          sum += scores_[n][c];
        }
      }
      weight_[r] = fmaf(weight_[r], step.factor, sum);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        sums_[n][2 * r] *= step.factor;
        sums_[n][2 * r + 1] *= step.factor;
      }
    }
  }

  __device__ __forceinline__ void AddValues(const T* values) {
    // Matrices of a load: dims [0, 8) of keys [0, 8) and [8, 16), then dims [8, 16) of both.
    const T* const from = values + lane_ % 16 * kStride + lane_ / 16 * 8;
#pragma unroll
    for (int k = 0; k < kKeyTile / 16; ++k) {
      const float(&low)[4] = scores_[2 * k];
      const float(&high)[4] = scores_[2 * k + 1];
      const uint32_t weights[4] = {Pack(low[0], low[1]), Pack(low[2], low[3]),
                                   Pack(high[0], high[1]), Pack(high[2], high[3])};
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t value[4];
        gpu::LoadMatricesTransposed(value, from + 16 * k * kStride + 8 * n);
        Multiply(sums_[n], weights, value[0], value[1]);
        Multiply(sums_[n + 1], weights, value[2], value[3]);
      }
    }
  }

  __device__ __forceinline__ void CloseSplit() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      weight_[r] += gpu::ShuffleXor(weight_[r], 1);
      weight_[r] += gpu::ShuffleXor(weight_[r], 2);
    }
  }

  __device__ __forceinline__ void Join() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float2 total = *RowTotal(r);
      const SplitJoin join = JoinSplits(total.x, total.y, largest_[r], weight_[r]);
      largest_[r] = total.x;
      weight_[r] = total.y;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int c = 2 * r; c < 2 * r + 2; ++c) {
          sums_[n][c] = Joined(totals_[32 * (4 * n + c)], sums_[n][c], join);
        }
      }
    }
  }

  __device__ __forceinline__ void Keep() {
    gpu::SyncWarp();  // lanes share what Join() read
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (lane_ % 4 == 0) *RowTotal(r) = {largest_[r], weight_[r]};
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) totals_[32 * (4 * n + i)] = sums_[n][i];
    }
    Restart();
  }

  __device__ __forceinline__ void WritePartial(int split) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (rows_[r] >= tile_.rows) continue;
      const QueryHead at = QueryHeadOf(task_, tile_, rows_[r]);
      const int64_t i = PartialIndex(task_, tile_.sequence, at.query, at.head, split);
      if (lane_ % 4 == 0) task_.partial_sums[i] = {largest_[r], weight_[r]};
      float* const to = task_.partial_values + i * task_.head_dim + lane_ % 4 * 2;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (8 * n >= task_.head_dim) break;
        *reinterpret_cast<float2*>(to + 8 * n) = {sums_[n][2 * r], sums_[n][2 * r + 1]};
      }
    }
  }

  __device__ __forceinline__ void WriteResult() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (rows_[r] >= tile_.rows) continue;
      T* const to = ResultRow(task_, QueryHeadOf(task_, tile_, rows_[r])) + lane_ % 4 * 2;
      const float inverse = 1.0f / weight_[r];
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (8 * n >= task_.head_dim) break;
        *reinterpret_cast<uint32_t*>(to + 8 * n) =
            Pack(Finished(sums_[n][2 * r], inverse), Finished(sums_[n][2 * r + 1], inverse));
      }
    }
  }

 private:
  static constexpr int kSteps = kDim / 16;
  static constexpr bool kQueriesStay = kDim > 128;  // in shared memory: registers are short

  static __device__ __forceinline__ void Multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    if constexpr (std::is_same_v<T, BFloat16>) {
      gpu::MultiplyBFloat16(d, a, b0, b1);
    } else {
      gpu::MultiplyFloat16(d, a, b0, b1);
    }
  }

  static __device__ __forceinline__ uint32_t Pack(float low, float high) {
    if constexpr (std::is_same_v<T, BFloat16>) {
      return gpu::PackBFloat16(low, high);
    } else {
      return gpu::PackFloat16(low, high);
    }
  }

  // Zeros the dims [head_dim, kDim) of rows of shared memory; copies leave them alone.
  __device__ __forceinline__ void ZeroPads(T* shared, int rows) {
    const int pads = (kDim - task_.head_dim) / 8;
    for (int i = static_cast<int>(threadIdx.x); i < rows * pads; i += blockDim.x) {
      T* const pad = shared + i / pads * kStride + task_.head_dim + i % pads * 8;
      *reinterpret_cast<uint4*>(pad) = uint4{0, 0, 0, 0};
    }
  }

  // Largest score and weight of the total of row r of the lane, for the four lanes that have it.
  __device__ __forceinline__ float2* RowTotal(int r) const {
    return reinterpret_cast<float2*>(row_totals_ + 8 * r * kStride);
  }

  __device__ __forceinline__ void Restart() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      largest_[r] = -INFINITY;
      weight_[r] = 0;
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums_[n][i] = 0;
    }
  }

  // Scores of row r of the lane, the first of key `key`, that it does not see.
  __device__ __forceinline__ void Mask(int key, const KeyRange& seen, int r) {
    if (key >= seen.first && key + kKeyTile <= seen.last) return;
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int at = key + 8 * n + c;
        if (at < seen.first || at > seen.last) scores_[n][2 * r + c] = -INFINITY;
      }
    }
  }

  const AttentionTask<T>& task_;
  const RowTile& tile_;
  const int lane_;
  const T* queries_;  // this lane's row of the first load
  float* totals_;     // this lane's first, the others 32 apart
  T* row_totals_;     // behind the dims of a row of keys, where no copy writes
  int rows_[2];
  KeyRange seen_[2];
  uint32_t taken_[kQueriesStay ? 1 : kSteps][4];
  float scores_[kKeyTile / 8][4];
  float sums_[kDim / 8][4];
  float largest_[2];
  float weight_[2];  // sum of the weights; of this lane's keys until the split is closed
};

template <typename T, template <typename> class Tiles>
void LaunchHalf(const AttentionTask<T>& task, const dim3& blocks, bool few, bool totals,
                gpu::Stream stream) {
  TESSERA_CHECK(task.head_dim <= 256);
  if (task.head_dim <= 64) {
    LaunchWarps<HalfWarp<T, 64>, Tiles>(task, blocks, few, totals, stream);
  } else if (task.head_dim <= 80) {
    LaunchWarps<HalfWarp<T, 80>, Tiles>(task, blocks, few, totals, stream);
  } else if (task.head_dim <= 128) {
    LaunchWarps<HalfWarp<T, 128>, Tiles>(task, blocks, few, totals, stream);
  } else {
    LaunchWarps<HalfWarp<T, 256>, Tiles>(task, blocks, few, totals, stream);
  }
}

}  // namespace tessera::cuda
