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
//   SharedBytes(warps, totals): of `more`, the shared memory behind the tiles;
//   Warp(task, tile, tiles, more): sends for the queries;
//   TakeQueries(): called when they are there for all threads;
//   Score(keys), Soften(key_tile), AddValues(values): for each key tile that a row of the warp
//   sees; CloseSplit(): sums over lanes; Join(): adds the total; Keep(): makes it the total, and
//   starts
//       a new split;
//   WritePartial(split), WriteResult().
// How keys and values get into its tiles is a class Tiles<Warp> of
//   kBytes: of shared memory, at its beginning;
//   begin(), end(): its tiles, of kKeyTile rows of kStride elements; Warp may use what lies behind
//       a row's dims;
//   SendKeys(key_tile), SendValues(key_tile): copies that the caller waits for;
//   Keys(), Values(): the tile, once they are there for all threads, which all call;
//   Release(): all threads call, done with it.
#pragma once

#include "cuda/kernels/attention_tile.h"

namespace tessera::cuda {

constexpr int kWarpsOfMany = 4;  // of a block where rows are many; else one

// Rows of elements to shared memory, kAcross threads to a row; place(row) is a row's first element,
// null for zeros (`any` is an address to name then).
template <typename T, int kStride, int kAcross = 8, typename Place>
__device__ __forceinline__ void CopyRows(int rows, int head_dim, const T* any, T* shared,
                                         const Place& place) {
  constexpr int kChunk = 16 / sizeof(T);
  constexpr int kBatch = 2;  // places sought at once
  const int step = static_cast<int>(blockDim.x) / kAcross;
  const int column = static_cast<int>(threadIdx.x % kAcross) * kChunk;
  for (int base = static_cast<int>(threadIdx.x) / kAcross; base < rows; base += kBatch * step) {
    const T* places[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) places[i] = place(base + i * step);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = base + i * step;
      if (row >= rows) break;
#pragma unroll 1
      for (int c = column; c < head_dim; c += kAcross * kChunk) {
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

// The row of a paged cache, [blocks, kv_heads, block_size], with key `key` of a tile's sequence.
template <typename T>
__device__ __forceinline__ int64_t CacheRow(const AttentionTask<T>& task, const RowTile& tile,
                                            int key) {
  const int index = key / task.block_size;
  const int64_t block = task.tables[int64_t{tile.sequence} * task.max_blocks + index];
  return (block * gridDim.y + blockIdx.y) * task.block_size + (key - index * task.block_size);
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

// Tiles of keys and values that the cache holds as Warp takes them.
template <typename Warp>
class StoredTiles {
 public:
  using T = typename Warp::Element;
  static constexpr size_t kBytes = size_t{2} * kKeyTile * Warp::kStride * sizeof(T);

  __device__ StoredTiles(const AttentionTask<T>& task, const RowTile& tile, const KeyRange& range)
      : task_(task),
        tile_(tile),
        range_(range),
        keys_(reinterpret_cast<T*>(gpu::SharedMemory())),
        values_(keys_ + kKeyTile * Warp::kStride) {}

  __device__ __forceinline__ T* begin() const { return keys_; }
  __device__ __forceinline__ T* end() const { return values_ + kKeyTile * Warp::kStride; }
  __device__ __forceinline__ void SendKeys(int key_tile) const {
    CopyKeyTile<T, Warp::kStride>(task_, tile_, task_.keys, key_tile, range_, keys_);
  }
  __device__ __forceinline__ void SendValues(int key_tile) const {
    CopyKeyTile<T, Warp::kStride>(task_, tile_, task_.values, key_tile, range_, values_);
  }
  __device__ __forceinline__ const T* Keys() const { return keys_; }
  __device__ __forceinline__ const T* Values() const { return values_; }
  __device__ __forceinline__ void Release() const { gpu::SyncBlock(); }

 private:
  const AttentionTask<T>& task_;
  const RowTile& tile_;
  const KeyRange& range_;
  T* const keys_;
  T* const values_;
};

template <typename Warp, template <typename> class Tiles>
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

  const Tiles<Warp> tiles(task, tile, range);
  Warp state(task, tile, tiles.begin(), tiles.end());
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
      const T* const keys = tiles.Keys();
      if (key_tile == begin) state.TakeQueries();
      if (sees) state.Score(keys);
      tiles.Release();
    }
    if (more) tiles.SendKeys(key_tile + 1);
    gpu::CommitCopies();
    if (sees) state.Soften(key_tile);
    if (key_tile >= begin) {
      gpu::WaitCopies<1>();
      gpu::SyncBlock();  // the values are there
      const T* const values = tiles.Values();
      if (sees) state.AddValues(values);
      tiles.Release();
    }
    if (more) tiles.SendValues(key_tile + 1);
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

template <typename Warp, template <typename> class Tiles>
void LaunchWarps(const AttentionTask<typename Warp::Element>& task, const dim3& blocks, bool few,
                 bool totals, gpu::Stream stream) {
  const int warps = few ? 1 : kWarpsOfMany;
  gpu::Launch(AttendKernel<Warp, Tiles>,
              {blocks, static_cast<unsigned>(warps) * 32,
               Tiles<Warp>::kBytes + Warp::SharedBytes(warps, totals)},
              stream, task);
}

// For any head_dim up to kMaxHeadDim; `rows` of the queries are wanted.
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
// The same over a cache of 8 bits; head_dim a multiple of 16.
void LaunchAttendFloat8(const AttentionTask<BFloat16>& task, const dim3& blocks, bool few,
                        bool totals, gpu::Stream stream);
void LaunchAttendFloat8(const AttentionTask<Float16>& task, const dim3& blocks, bool few,
                        bool totals, gpu::Stream stream);

}  // namespace tessera::cuda
