// Attention over the paged cache and over ragged spans: who computes what, and the joining of
// splits that blocks took one by one. The work itself is AttendKernel (attention_kernel.h).
#include <algorithm>
#include <climits>
#include <type_traits>

#include "cuda/kernels/attention_kernel.h"
#include "cuda/kernels/kernels.h"
#include "engine/base/check.h"

namespace tessera::cuda {
namespace {

constexpr int kSplitTiles = 4;  // part of the order of sums: results of all shapes change with it
constexpr int kJoinThreads = 128;

// A launch for sequences with few packed rows has small tiles; up to the second number where no
// sequence has more.
constexpr int kFewRows = 16;
constexpr int kFewRowsOfAll = 64;
// Splits get blocks of their own where there are no more blocks than this otherwise, and at least
// so many splits; but not where their results are more than kMaxScratch float32 values.
struct Spread {
  int64_t most_blocks;
  int64_t least_splits;
};
constexpr Spread kSpreadFew = {1024, 2};
constexpr Spread kSpreadMany = {256, 4};
constexpr int64_t kMaxScratch = int64_t{1} << 26;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A launch for the sequences with min_queries to max_queries queries.
struct LaunchPlan {
  bool few = false;
  int64_t min_queries = 1;
  int64_t max_queries = 0;
  int64_t parts = 1;     // blocks beside each other over the keys
  int64_t partials = 0;  // results that these leave, 0 where parts is 1
};

// What the host knows of a batch.
struct Plan {
  int64_t sequences = 0;
  bool totals = false;  // whether a block that takes all keys may join splits
  LaunchPlan few;
  LaunchPlan many;
};

void SpreadSplits(const Spread& spread, int64_t blocks, int64_t splits, int64_t results,
                  int64_t head_dim, LaunchPlan& launch) {
  if (splits < spread.least_splits || blocks > spread.most_blocks) return;
  if (results * splits * (head_dim + 2) > kMaxScratch) return;
  launch.parts = splits;
  launch.partials = results * splits;
}

Plan MakePlan(const AttentionShape& shape, const PagedBatch& batch) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t splits = CeilDivide(batch.max_context, kSplitTiles * kKeyTile);
  Plan plan;
  plan.sequences = batch.context_lengths.elements();
  plan.totals = splits > 1;
  plan.few.few = true;
  plan.few.max_queries = batch.max_query * group <= kFewRowsOfAll
                             ? batch.max_query
                             : std::max<int64_t>(kFewRows / group, 1);
  plan.many.min_queries = plan.few.max_queries + 1;
  plan.many.max_queries = batch.max_query;
  const int64_t few_tiles = plan.sequences * CeilDivide(plan.few.max_queries * group, kFewRows);
  SpreadSplits(kSpreadFew, few_tiles * shape.kv_heads, splits,
               plan.sequences * plan.few.max_queries * shape.heads, shape.head_dim, plan.few);
  const int64_t many_tiles = CeilDivide(batch.slots.elements() * group, TileRows<BFloat16>(false));
  SpreadSplits(kSpreadMany, many_tiles * shape.kv_heads, splits,
               plan.sequences * plan.many.max_queries * shape.heads, shape.head_dim, plan.many);
  return plan;
}

// One warp for each query and head of the sequences of the launch before: y = the splits, joined.
template <typename T>
__global__ void __launch_bounds__(kJoinThreads) JoinKernel(AttentionTask<T> task) {
  gpu::WaitForPrevious();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t index = int64_t{blockIdx.x} * (kJoinThreads / 32) + threadIdx.x / 32;
  const int64_t queries = index / task.heads;
  const int head = static_cast<int>(index % task.heads);
  const int sequence = static_cast<int>(queries / task.max_queries);
  const int query = static_cast<int>(queries % task.max_queries);
  if (sequence >= task.sequences) return;
  const RowTile tile = TileOf(task, sequence, 0, INT_MAX);
  const KeyRange seen = Visible(task, tile, query * task.group);
  if (seen.last < seen.first) return;
  constexpr int kParts = kMaxHeadDim / 32;
  const int split_keys = task.split_tiles * kKeyTile;
  float largest = -INFINITY, weight = 0, sums[kParts] = {};
#pragma unroll 2
  for (int split = seen.first / split_keys; split <= seen.last / split_keys; ++split) {
    const int64_t i = PartialIndex(task, sequence, query, head, split);
    const float2 part = task.partial_sums[i];
    const SplitJoin join = JoinSplits(largest, weight, part.x, part.y);
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      const int d = lane + 32 * j;
      if (d >= task.head_dim) continue;
      sums[j] = Joined(sums[j], task.partial_values[i * task.head_dim + d], join);
    }
  }
  const float inverse = 1.0f / weight;
  T* const to = ResultRow(task, {int64_t{tile.start} + query, query, head});
#pragma unroll
  for (int j = 0; j < kParts; ++j) {
    const int d = lane + 32 * j;
    if (d < task.head_dim) to[d] = Round<T>(Finished(sums[j], inverse));
  }
}

void CheckShape(const AttentionShape& shape) {
  TESSERA_CHECK(shape.head_dim > 0 && shape.head_dim <= kMaxHeadDim);
  TESSERA_CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  TESSERA_CHECK(shape.scale > 0);  // the largest score is sought before it is scaled
}

// Whether the rows of every head begin at multiples of 16 bytes, keys' and values' of `dtype`.
bool AlignedHeads(const AttentionShape& shape, DType dtype) {
  return shape.head_dim % (dtype == DType::kFloat8 ? 16 : 8) == 0;
}

// What both operations say of their queries and results.
template <typename T>
AttentionTask<T> TaskOf(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t first,
                        Tensor y) {
  AttentionTask<T> task;
  task.queries = qkv.as<T>();
  task.row_stride = qkv.cols();
  task.starts = starts.as<int32_t>();
  task.sequences = static_cast<int>(starts.elements() - 1);
  task.heads = shape.heads;
  task.group = shape.heads / shape.kv_heads;
  task.head_dim = shape.head_dim;
  task.scale = shape.scale * 1.44269504088896341f;
  task.split_tiles = INT_MAX;
  task.y = y.as<T>();
  task.first_row = static_cast<int>(first);
  task.end_row = static_cast<int>(first + y.rows());
  return task;
}

template <typename T>
AttentionTask<T> PagedTask(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                           const KvLayer& kv, Tensor y) {
  AttentionTask<T> task = TaskOf<T>(qkv, shape, batch.query_starts, 0, y);
  if (kv.keys.dtype == DType::kFloat8) {
    task.float8_keys = {kv.keys.as<Float8>(), kv.key_scales.as<float>()};
    task.float8_values = {kv.values.as<Float8>(), kv.value_scales.as<float>()};
  } else {
    task.keys = kv.keys.as<T>();
    task.values = kv.values.as<T>();
  }
  task.block_size = static_cast<int>(kv.keys.dims[2]);
  task.key_stride = shape.head_dim;
  task.head_stride = task.block_size * task.key_stride;
  task.block_stride = shape.kv_heads * task.head_stride;
  task.tables = batch.block_tables.as<int32_t>();
  task.max_blocks = static_cast<int>(batch.block_tables.cols());
  task.contexts = batch.context_lengths.as<int32_t>();
  task.window_ends = batch.window_ends.as<int32_t>();
  task.window = shape.sliding_window;
  task.split_tiles = kSplitTiles;
  return task;
}

// Of T query rows in all.
template <typename T>
void Attend(AttentionTask<T> task, const LaunchPlan& launch, int64_t rows, int kv_heads,
            bool totals, float* scratch, Stream stream) {
  const int tile_rows = TileRows<T>(launch.few);
  task.min_queries = static_cast<int>(launch.min_queries);
  task.max_queries = static_cast<int>(launch.max_queries);
  task.parts = static_cast<int>(launch.parts);
  task.partial_sums = reinterpret_cast<float2*>(scratch);
  task.partial_values = scratch + 2 * launch.partials;
  int64_t tiles;
  if (launch.few) {
    task.tiles_per_sequence =
        static_cast<int>(CeilDivide(launch.max_queries * task.group, tile_rows));
    tiles = int64_t{task.sequences} * task.tiles_per_sequence;
  } else {
    tiles = rows * task.group / tile_rows +
            std::min<int64_t>(task.sequences, rows / launch.min_queries);
  }
  const dim3 blocks(static_cast<unsigned>(tiles * launch.parts), static_cast<unsigned>(kv_heads));
  const bool joins = totals && launch.parts == 1;
  if (task.keys != nullptr) {
    LaunchAttend(task, blocks, launch.few, joins, stream);
  } else if constexpr (!std::is_same_v<T, float>) {
    LaunchAttendFloat8(task, blocks, launch.few, joins, stream);
  }
  if (launch.parts == 1) return;
  const int64_t results = task.sequences * launch.max_queries * task.heads;
  gpu::Launch(JoinKernel<T>,
              {dim3(static_cast<unsigned>(CeilDivide(results, kJoinThreads / 32))), kJoinThreads},
              stream, task);
}

}  // namespace

int64_t PagedAttentionScratch(const AttentionShape& shape, const PagedBatch& batch) {
  const Plan plan = MakePlan(shape, batch);
  return std::max(plan.few.partials, plan.many.partials) * (shape.head_dim + 2);
}

void PagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                    const KvLayer& kv, float* scratch, Tensor y, Stream stream) {
  CheckShape(shape);
  if (y.rows() == 0) return;
  const Plan plan = MakePlan(shape, batch);
  const bool many = plan.many.max_queries >= plan.many.min_queries;
  ForDType(qkv.dtype, [&](auto element) {
    using T = decltype(element);
    const AttentionTask<T> task = PagedTask<T>(qkv, shape, batch, kv, y);
    if (!AlignedHeads(shape, kv.keys.dtype)) {
      return LaunchAny(task, y.rows(), shape.kv_heads, stream);
    }
    for (const LaunchPlan* launch : {&plan.few, &plan.many}) {
      // The longest sequence is one of many, and may be the only one.
      if (launch->few ? many && plan.sequences == 1 : !many) continue;
      Attend(task, *launch, y.rows(), shape.kv_heads, plan.totals, scratch, stream);
    }
  });
}

void FullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span,
                   int64_t first, Tensor y, Stream stream) {
  CheckShape(shape);
  if (y.rows() == 0) return;
  LaunchPlan launch;
  launch.max_queries = max_span;
  ForDType(qkv.dtype, [&](auto element) {
    using T = decltype(element);
    AttentionTask<T> task = TaskOf<T>(qkv, shape, starts, first, y);
    task.keys = task.queries + int64_t{shape.heads} * shape.head_dim;
    task.values = task.keys + int64_t{shape.kv_heads} * shape.head_dim;
    task.key_stride = qkv.cols();
    task.head_stride = shape.head_dim;
    if (!AlignedHeads(shape, qkv.dtype)) {
      return LaunchAny(task, y.rows(), shape.kv_heads, stream);
    }
    Attend(task, launch, y.rows(), shape.kv_heads, /*totals=*/false, /*scratch=*/nullptr, stream);
  });
}

}  // namespace tessera::cuda
