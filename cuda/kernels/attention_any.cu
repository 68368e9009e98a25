// Attention for heads whose rows do not begin at multiples of 16 bytes: plain, a warp for each
// query and head, on CUDA cores.
#include <type_traits>

#include "cuda/kernels/attention_kernel.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 32;
constexpr int kDimsPerLane = kMaxHeadDim / kThreads;

// A row of keys or values.
template <typename T>
struct PlainRow {
  const T* numbers;

  __device__ __forceinline__ float operator[](int d) const { return ToFloat(numbers[d]); }
};
struct Float8Row {
  const Float8* numbers;
  float scale;

  __device__ __forceinline__ float operator[](int d) const { return ToFloat(numbers[d]) * scale; }
};
template <typename T>
__device__ __forceinline__ PlainRow<T> RowOf(const AttentionTask<T>& task, const RowTile& tile,
                                             const T* rows, int key) {
  return {KeyPlace(task, tile, rows + blockIdx.y * task.head_stride, key)};
}
template <typename T>
__device__ __forceinline__ Float8Row RowOf(const AttentionTask<T>& task, const RowTile& tile,
                                           const Float8Rows& rows, int key) {
  const int64_t row = CacheRow(task, tile, key);
  return {rows.numbers + row * task.head_dim, rows.scales[row]};
}

// Lane l has dims l, l + 32, … of the sums and key 32 i + l of each tile.
template <typename T, typename Rows>
__global__ void __launch_bounds__(kThreads)
    AttendAnyKernel(AttentionTask<T> task, Rows keys, Rows values) {
  gpu::WaitForPrevious();
  __shared__ float query[kMaxHeadDim];
  const RowTile tile = FindTile(task, static_cast<int>(blockIdx.x), 1);
  if (tile.rows == 0) return;  // the whole block
  const int lane = static_cast<int>(threadIdx.x);
  const QueryHead at = QueryHeadOf(task, tile, 0);
  const KeyRange range = Visible(task, tile, 0);
  const T* from = task.queries + at.row * task.row_stride + int64_t{at.head} * task.head_dim;
  for (int d = lane; d < task.head_dim; d += kThreads) query[d] = ToFloat(from[d]);
  gpu::SyncWarp();

  float most = -INFINITY;
  float sum = 0;
  float sums[kDimsPerLane] = {};
  for (int first = range.first / kThreads * kThreads; first <= range.last; first += kThreads) {
    const int key = first + lane;
    const bool visible = key >= range.first && key <= range.last;
    float score = -INFINITY;
    if (visible) {
      const auto row = RowOf(task, tile, keys, key);
      score = 0;
      for (int d = 0; d < task.head_dim; ++d) score = fmaf(query[d], row[d], score);
      score *= task.scale;
    }
    const float larger = fmaxf(most, WarpMax(score));
    const float shrink = most == -INFINITY ? 0.0f : gpu::Exp2(most - larger);
    const float weight = visible ? gpu::Exp2(score - larger) : 0.0f;
    most = larger;
    sum = fmaf(sum, shrink, WarpSum(weight));
#pragma unroll
    for (int i = 0; i < kDimsPerLane; ++i) sums[i] *= shrink;
    for (int j = max(0, range.first - first); j < kThreads && first + j <= range.last; ++j) {
      const float share = gpu::Shuffle(weight, j);
      const auto row = RowOf(task, tile, values, first + j);
#pragma unroll
      for (int i = 0; i < kDimsPerLane; ++i) {
        const int d = lane + kThreads * i;
        if (d < task.head_dim) sums[i] = fmaf(share, row[d], sums[i]);
      }
    }
  }
  T* to = ResultRow(task, at);
#pragma unroll
  for (int i = 0; i < kDimsPerLane; ++i) {
    const int d = lane + kThreads * i;
    if (d < task.head_dim) to[d] = Round<T>(sums[i] / sum);
  }
}

template <typename T>
void Run(AttentionTask<T> task, int64_t rows, int kv_heads, gpu::Stream stream) {
  task.max_queries = INT32_MAX;
  const dim3 blocks(static_cast<unsigned>(rows * task.group), static_cast<unsigned>(kv_heads));
  const gpu::Grid grid = {blocks, kThreads};
  if (task.keys != nullptr) {
    gpu::Launch(AttendAnyKernel<T, const T*>, grid, stream, task, task.keys, task.values);
  } else if constexpr (!std::is_same_v<T, float>) {
    gpu::Launch(AttendAnyKernel<T, Float8Rows>, grid, stream, task, task.float8_keys,
                task.float8_values);
  }
}

}  // namespace

void LaunchAny(const AttentionTask<float>& task, int64_t rows, int kv_heads, gpu::Stream stream) {
  Run(task, rows, kv_heads, stream);
}
void LaunchAny(const AttentionTask<BFloat16>& task, int64_t rows, int kv_heads,
               gpu::Stream stream) {
  Run(task, rows, kv_heads, stream);
}
void LaunchAny(const AttentionTask<Float16>& task, int64_t rows, int kv_heads, gpu::Stream stream) {
  Run(task, rows, kv_heads, stream);
}

}  // namespace tessera::cuda
