// What the attention kernels of all types share: which rows a block takes, which keys those see,
// where keys lie, and the arithmetic by which sums over keys are scaled and merged.
//
// Heads that share a key head are packed: packed row query · group + i of a sequence is head i of
// the group at that query. Keys are taken in tiles of 64 that begin at multiples of 64, and tiles
// in splits whose ends are multiples of split_tiles: positions alone fix the order of every sum.
#pragma once

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "engine/backend/operands.h"
#include "gpu/gpu.h"

namespace tessera::cuda {

constexpr int kKeyTile = 64;

// Keys or values of 8 bits, rows as in KvLayer.
struct Float8Rows {
  const Float8* numbers = nullptr;
  const float* scales = nullptr;
};

// One launch. Keys are paged where `tables` is not null, and else lie in the rows of the queries.
template <typename T>
struct AttentionTask {
  const T* queries = nullptr;  // row t of head h at t · row_stride + h · head_dim
  int64_t row_stride = 0;
  // Key j of key head h of sequence s, and its value, at h · head_stride plus
  //   paged: tables[s, j / block_size] · block_stride + j % block_size · key_stride
  //   else:  (starts[s] + j) · key_stride
  const T* keys = nullptr;  // null where they have 8 bits
  const T* values = nullptr;
  Float8Rows float8_keys;  // of a paged cache
  Float8Rows float8_values;
  int64_t key_stride = 0;
  int64_t head_stride = 0;
  int64_t block_stride = 0;
  const int32_t* tables = nullptr;  // [sequences, max_blocks]
  int max_blocks = 0;
  int block_size = 1;

  const int32_t* starts = nullptr;       // [sequences + 1], rows of the queries
  const int32_t* contexts = nullptr;     // [sequences]; null: spans see all of themselves, no mask
  const int32_t* window_ends = nullptr;  // [sequences] or null
  int sequences = 0;
  int window = 0;  // 0: none
  int heads = 0;
  int group = 1;  // heads per key head
  int head_dim = 0;
  float scale = 0;  // of scores, times log2(e)

  // Sequences with fewer or more queries are left to another launch.
  int min_queries = 1;
  int max_queries = 0;
  // Blocks of the grid's x are tiles · parts. Each sequence has tiles_per_sequence tiles, or where
  // that is 0 the x-th tile is sought.
  int tiles_per_sequence = 0;
  int parts = 1;  // 1: a block takes all splits; else one split each, whose results are `partial_`s
  int split_tiles = 0;

  // Of sequence s, query q, head h, split p, where parts > 1: at PartialIndex i.
  float* partial_values = nullptr;  // [i, head_dim]
  float2* partial_sums = nullptr;   // [i]: largest score, sum of weights
  T* y = nullptr;                   // [end_row - first_row, heads, head_dim]
  int first_row = 0;                // rows of the queries that are wanted
  int end_row = 0;
};

// Consecutive packed rows of one sequence.
struct RowTile {
  int sequence = 0;
  int start = 0;  // the sequence's first row of the queries
  int begin = 0;  // the first packed row
  int rows = 0;   // 0: none
  int context = 0;
  int queries = 0;
  int window_end = 0;
};

// Inclusive; last < first: none.
struct KeyRange {
  int first = 0;
  int last = -1;
};

// The packed rows [begin, end) of a sequence that the launch wants.
struct PackedRange {
  int begin = 0;
  int end = 0;
};
template <typename T>
__device__ __forceinline__ PackedRange WantedRows(const AttentionTask<T>& task, int sequence) {
  const int start = task.starts[sequence];
  const int count = task.starts[sequence + 1] - start;
  if (count < task.min_queries || count > task.max_queries) return {};
  const int begin = max(task.first_row - start, 0);
  const int end = min(task.end_row - start, count);
  return {begin * task.group, max(begin, end) * task.group};
}

// The index-th tile of `tile_rows` rows of a sequence.
template <typename T>
__device__ __forceinline__ RowTile TileOf(const AttentionTask<T>& task, int sequence, int index,
                                          int tile_rows) {
  const PackedRange wanted = WantedRows(task, sequence);
  RowTile tile;
  tile.sequence = sequence;
  tile.start = task.starts[sequence];
  tile.begin = wanted.begin + index * tile_rows;
  tile.rows = max(0, min(tile_rows, wanted.end - tile.begin));
  tile.queries = task.starts[sequence + 1] - tile.start;
  tile.context = task.contexts == nullptr ? tile.queries : task.contexts[sequence];
  tile.window_end = task.window_ends == nullptr ? tile.context : task.window_ends[sequence];
  return tile;
}

// The index-th tile of all sequences. All threads of the block call.
template <typename T>
__device__ __forceinline__ RowTile FindTile(const AttentionTask<T>& task, int index,
                                            int tile_rows) {
  if (task.tiles_per_sequence > 0) {
    return TileOf(task, index / task.tiles_per_sequence, index % task.tiles_per_sequence,
                  tile_rows);
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int base = 0; base < task.sequences; base += 32) {
    PackedRange wanted;
    if (base + lane < task.sequences) wanted = WantedRows(task, base + lane);
    const int tiles = (wanted.end - wanted.begin + tile_rows - 1) / tile_rows;
    int end = tiles;  // of the lanes up to this one
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int below = gpu::Shuffle(end, max(lane - step, 0));
      if (lane >= step) end += below;
    }
    const uint32_t beyond = gpu::Ballot(end > index);
    if (beyond != 0) {
      const int found = __ffs(static_cast<int>(beyond)) - 1;
      return TileOf(task, base + found, index - gpu::Shuffle(end - tiles, found), tile_rows);
    }
    index -= gpu::Shuffle(end, 31);
  }
  return {};
}

// What row `row` of a tile sees.
template <typename T>
__device__ __forceinline__ KeyRange Visible(const AttentionTask<T>& task, const RowTile& tile,
                                            int row) {
  if (row >= tile.rows) return {};
  if (task.contexts == nullptr) return {0, tile.context - 1};
  const int position = tile.context - tile.queries + (tile.begin + row) / task.group;
  const bool windowed = task.window > 0 && position < tile.window_end;
  return {windowed ? max(0, position - task.window) : 0, position};
}

// What rows [begin, end) of a tile see in all. (A row's first key only grows until the window ends,
// and then is 0.)
template <typename T>
__device__ __forceinline__ KeyRange Visible(const AttentionTask<T>& task, const RowTile& tile,
                                            int begin, int end) {
  end = min(end, tile.rows);
  if (begin >= end) return {};
  const KeyRange low = Visible(task, tile, begin);
  const KeyRange high = Visible(task, tile, end - 1);
  return {min(low.first, high.first), high.last};
}

__device__ __forceinline__ bool Overlaps(const KeyRange& range, int key_tile) {
  return range.first < (key_tile + 1) * kKeyTile && range.last >= key_tile * kKeyTile;
}

// Row of the queries, and head, of row `row` of a tile.
struct QueryHead {
  int64_t row;
  int query;  // in the sequence
  int head;
};
template <typename T>
__device__ __forceinline__ QueryHead QueryHeadOf(const AttentionTask<T>& task, const RowTile& tile,
                                                 int row) {
  const int query = (tile.begin + row) / task.group;
  const int head = (tile.begin + row) % task.group + static_cast<int>(blockIdx.y) * task.group;
  return {int64_t{tile.start} + query, query, head};
}

template <typename T>
__device__ __forceinline__ T* ResultRow(const AttentionTask<T>& task, const QueryHead& at) {
  return task.y + ((at.row - task.first_row) * task.heads + at.head) * task.head_dim;
}

// ((s · max_queries + q) · heads + h) · parts + p.
template <typename T>
__device__ __forceinline__ int64_t PartialIndex(const AttentionTask<T>& task, int sequence,
                                                int query, int head, int split) {
  return ((int64_t{sequence} * task.max_queries + query) * task.heads + head) * task.parts + split;
}

// --- softmax: of scores in steps (Milakov and Gimelshein 2018, arXiv 1805.02867), and of splits
// ---

// The sums so far are multiplied by `factor`; weights from now on are 2^(score · scale - offset).
struct SoftmaxStep {
  float factor;
  float offset;
};
// Raises `largest` (a row's largest scaled score, -∞ before it saw a key) to `score` too. A tile
// without visible keys leaves all as it is: the factor is 1, weights are 0.
__device__ __forceinline__ SoftmaxStep Raise(float& largest, float score) {
  const float raised = fmaxf(largest, score);
  const float offset = raised == -INFINITY ? 0.0f : raised;
  const float factor = gpu::Exp2(largest - offset);
  largest = raised;
  return {factor, offset};
}

__device__ __forceinline__ float Weight(float score, float scale, float offset) {
  return gpu::Exp2(fmaf(score, scale, -offset));
}

// A row's total over some splits, then the next split's part: total = total · total_factor + part ·
// part_factor. Splits join in ascending order; one without visible keys leaves the total as it is,
// and to such a total the next joins as it is.
struct SplitJoin {
  float total_factor;
  float part_factor;
};
__device__ __forceinline__ float Joined(float total, float part, const SplitJoin& join) {
  return fmaf(total, join.total_factor, part * join.part_factor);
}
__device__ __forceinline__ SplitJoin JoinSplits(float& total_largest, float& total_sum,
                                                float part_largest, float part_sum) {
  const SoftmaxStep step = Raise(total_largest, part_largest);
  const SplitJoin join = {step.factor, gpu::Exp2(part_largest - step.offset)};
  total_sum = Joined(total_sum, part_sum, join);
  return join;
}

// A value of the result; never -0, which may depend on keys that have no weight.
__device__ __forceinline__ float Finished(float value, float inverse_sum) {
  return fmaf(value, inverse_sum, 0.0f);
}

}  // namespace tessera::cuda
