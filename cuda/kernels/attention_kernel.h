// The kernel of attention over one tile of rows, FlashAttention-2 (Dao 2023, arXiv 2307.08691) with
// the splits over keys of Flash-Decoding (Dao et al. 2023). Each warp has its own rows; keys and
// values pass through shared memory, the next keys loading while this tile's values are added, the
// next values while its keys are scored.
//
// A block takes either all keys of its rows, joining split after split, or one split, which
// JoinKernel joins: the same sums in the same order by the same functions. The number of warps, and
// with it of rows, is free too, as no row's sums touch another's.
//
// What a warp does with its rows is a class Warp of
//   Element, kRows (of a warp), kStride (elements from row to row in shared memory), kBlocks (of a
//       multiprocessor, for which registers are allotted);
//   SharedBytes(warps, totals): of `more`, the shared memory behind keys and values;
//   Warp(task, tile, keys, more): sends for the queries;
//   TakeQueries(): called when they are there for all threads;
//   Score(keys), Soften(key_tile), AddValues(values): for each key tile that a row of the warp
//   sees; CloseSplit(): sums over lanes; Join(): adds the total; Keep(): makes it the total, and
//   starts
//       a new split;
//   WritePartial(split), WriteResult().
#pragma once

#include "cuda/kernels/attention_tile.h"

namespace tessera::cuda {

constexpr int kWarpsOfMany = 4;  // of a block where rows are many; else one

// Rows of elements to shared memory, eight threads to a row; place(row) is a row's first element,
// null for zeros (`any` is an address to name then).
template <typename T, int kStride, typename Place>
__device__ __forceinline__ void CopyRows(int rows, int head_dim, const T* any, T* shared,
                                         const Place& place) {
  constexpr int kChunk = 16 / sizeof(T);
  constexpr int kBatch = 2;  // places sought at once
  const int step = static_cast<int>(blockDim.x) / 8;
  const int column = static_cast<int>(threadIdx.x % 8) * kChunk;
  for (int base = static_cast<int>(threadIdx.x) / 8; base < rows; base += kBatch * step) {
    const T* places[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) places[i] = place(base + i * step);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = base + i * step;
      if (row >= rows) break;
#pragma unroll 1
      for (int c = column; c < head_dim; c += 8 * kChunk) {
        const bool valid = places[i] != nullptr;
        gpu::CopyAsync16(shared + row * kStride + c, valid ? places[i] + c : any, valid);
      }
    }
  }
}

// The rows of a tile's queries.
template <typename T, int kStride>
__device__ __forceinline__ void CopyQueries(const AttentionTask<T>& task, const RowTile& tile,
                                            int rows, T* shared) {
  CopyRows<T, kStride>(rows, task.head_dim, task.queries, shared, [&](int row) -> const T* {
    if (row >= tile.rows) return nullptr;
    const QueryHead at = QueryHeadOf(task, tile, row);
    return task.queries + at.row * task.row_stride + int64_t{at.head} * task.head_dim;
  });
}

// Where key `key` of a tile's sequence lies in `head`, the keys or values of one head.
template <typename T>
__device__ __forceinline__ const T* KeyPlace(const AttentionTask<T>& task, const RowTile& tile,
                                             const T* head, int key) {
  if (task.tables == nullptr) return head + (int64_t{tile.start} + key) * task.key_stride;
  const int index = key / task.block_size;
  const int64_t block = task.tables[int64_t{tile.sequence} * task.max_blocks + index];
  return head + block * task.block_stride + (key - index * task.block_size) * task.key_stride;
}

// A key tile of `source`, the task's keys or values; those out of `range` are zeros and not looked
// for.
template <typename T, int kStride>
__device__ __forceinline__ void CopyKeyTile(const AttentionTask<T>& task, const RowTile& tile,
                                            const T* source, int key_tile, const KeyRange& range,
                                            T* shared) {
  const T* const head = source + blockIdx.y * task.head_stride;
  const int first = key_tile * kKeyTile;
  const bool gapless = task.tables == nullptr || task.block_size % kKeyTile == 0;
  const T* const begin = gapless ? KeyPlace(task, tile, head, first) : nullptr;
  CopyRows<T, kStride>(kKeyTile, task.head_dim, source, shared, [&](int row) -> const T* {
    if (first + row < range.first || first + row > range.last) return nullptr;
    return gapless ? begin + row * task.key_stride : KeyPlace(task, tile, head, first + row);
  });
}

template <typename Warp>
__global__ void __launch_bounds__(32 * kWarpsOfMany, Warp::kBlocks)
    AttendKernel(AttentionTask<typename Warp::Element> task) {
  using T = typename Warp::Element;
  gpu::WaitForPrevious();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int rows = static_cast<int>(blockDim.x) / 32 * Warp::kRows;
  const int split = static_cast<int>(blockIdx.x) % task.parts;
  // The last tiles come first: they see the most keys.
  const RowTile tile =
      FindTile(task, static_cast<int>(gridDim.x - 1 - blockIdx.x) / task.parts, rows);
  const KeyRange range = Visible(task, tile, 0, rows);
  int key_tile = range.first / kKeyTile;
  int end = range.last < range.first ? 0 : range.last / kKeyTile + 1;
  if (task.parts > 1) {
    key_tile = max(key_tile, split * task.split_tiles);
    end = min(end, (split + 1) * task.split_tiles);
  }
  if (key_tile >= end) return;

  T* const keys = reinterpret_cast<T*>(gpu::SharedMemory());
  T* const values = keys + kKeyTile * Warp::kStride;
  Warp state(task, tile, keys, values + kKeyTile * Warp::kStride);
  const KeyRange seen = Visible(task, tile, warp * Warp::kRows, (warp + 1) * Warp::kRows);
  bool has_total = false;
  // Each turn also sends for the next tile; the first does nothing else.
  const int begin = key_tile;
  for (key_tile = begin - 1; key_tile < end; ++key_tile) {
    const bool sees = key_tile >= begin && Overlaps(seen, key_tile);
    const bool more = key_tile + 1 < end;
    if (key_tile >= begin) {
      gpu::WaitCopies<1>();
      gpu::SyncBlock();  // the keys are there
      if (key_tile == begin) state.TakeQueries();
      if (sees) state.Score(keys);
      gpu::SyncBlock();
    }
    if (more) CopyKeyTile<T, Warp::kStride>(task, tile, task.keys, key_tile + 1, range, keys);
    gpu::CommitCopies();
    if (sees) state.Soften(key_tile);
    if (key_tile >= begin) {
      gpu::WaitCopies<1>();
      gpu::SyncBlock();  // the values are there
      if (sees) state.AddValues(values);
      gpu::SyncBlock();
    }
    if (more) CopyKeyTile<T, Warp::kStride>(task, tile, task.values, key_tile + 1, range, values);
    gpu::CommitCopies();
    if (key_tile < begin || (more && (key_tile + 1) % task.split_tiles != 0)) continue;
    state.CloseSplit();
    if (has_total) state.Join();
    if (!more) break;
    state.Keep();
    has_total = true;
  }
  if (task.parts > 1) {
    state.WritePartial(split);
  } else {
    state.WriteResult();
  }
}

template <typename T>
constexpr int kWarpRows = 16;
template <>
inline constexpr int kWarpRows<float> = 4;

// Rows of a block where a launch has few rows, and where it has many.
template <typename T>
int TileRows(bool few) {
  return (few ? 1 : kWarpsOfMany) * kWarpRows<T>;
}

template <typename Warp>
void LaunchWarps(const AttentionTask<typename Warp::Element>& task, const dim3& blocks, bool few,
                 bool totals, gpu::Stream stream) {
  constexpr size_t kKeyBytes =
      size_t{2} * kKeyTile * Warp::kStride * sizeof(typename Warp::Element);
  const int warps = few ? 1 : kWarpsOfMany;
  gpu::Launch(
      AttendKernel<Warp>,
      {blocks, static_cast<unsigned>(warps) * 32, kKeyBytes + Warp::SharedBytes(warps, totals)},
      stream, task);
}

// For any head_dim up to kMostHeadDim; `rows` of the queries are wanted.
void LaunchAny(const AttentionTask<float>& task, int64_t rows, int kv_heads, gpu::Stream stream);
void LaunchAny(const AttentionTask<BFloat16>& task, int64_t rows, int kv_heads, gpu::Stream stream);
void LaunchAny(const AttentionTask<Float16>& task, int64_t rows, int kv_heads, gpu::Stream stream);

// Launches blocks of TileRows(few) rows. `totals`: whether a block joins splits.
void LaunchAttend(const AttentionTask<float>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream);
void LaunchAttend(const AttentionTask<BFloat16>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream);
void LaunchAttend(const AttentionTask<Float16>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream);

}  // namespace tessera::cuda
