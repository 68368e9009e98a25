// The kernel of a persistent, warp-specialised product for sm_90a. W lies on the tensor cores' M,
// places on their N, so that few places waste little. One warpgroup fetches: the copy engine brings
// tiles of W, its threads gather rows of x, both into a ring of stages of 128 bytes of K; the
// others multiply. Each element of y is one float32 sum over all of K, stage by stage, in an order
// that does not depend on the tile.
//
// A narrow tile has fewer rows of W than a warpgroup multiplies. The others of a stage are never
// brought: what the tensor cores make of what lies there is not stored. So few places keep more
// multiprocessors reading, which a split over K would do at the price of other sums.
//
// How W is stored is a class Weights of
//   Number, the activations' type; kFormat;
//   Operand, the type of x and of what the tensor cores multiply;
//   kBoxBytes, of 64 rows of W and the columns of a stage, a multiple of 1024 (where there are
//     narrow tiles, for 16 rows), and kFetchedBytes of them that are brought;
//   Fetch(map, full, task, expert, first_row, k, box): lets the copy engine bring a box of the map;
//   Sum(in, warpgroup, shared, turn, d): takes a tile's stages in turn and leaves its sums in d.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kernels/hopper_store.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/product_hopper.h"
#include "cuda/kernels/tiles.h"
#include "gpu/hopper.h"

namespace tessera::cuda {

constexpr int kRowBytes = 128;  // of a row of a stage, swizzled as LoadTile() does
constexpr int kChunkBytes = 16;
constexpr int kStageSteps = kRowBytes / 32;  // products of a stage
constexpr int kRingBytes = 200 * 1024;
constexpr int kMaxStages = 16;
constexpr int kNarrowBoxRows = 16;  // of W, of a box of HopperMaps::narrow

template <typename T>
constexpr auto kOperandType = gpu::OperandType::kFloat8;
template <>
inline constexpr auto kOperandType<BFloat16> = gpu::OperandType::kBFloat16;
template <>
inline constexpr auto kOperandType<Float16> = gpu::OperandType::kFloat16;

// Registers of each thread where three warpgroups share them: the one that fetches gives up what
// those with the accumulators need. Two warpgroups have enough anyway.
constexpr int kLaunchRegisters = 65536 / (3 * kWarpgroup) / 8 * 8;
constexpr int kFetchRegisters = 72;
constexpr int kMultiplyRegisters = 216;
static_assert(kFetchRegisters + 2 * kMultiplyRegisters <= 3 * kLaunchRegisters);
template <int kConsumers>
constexpr bool kMovesRegisters = kConsumers == 2;

struct HopperTask {
  const unsigned char* x;  // [x_rows, in]
  const int32_t* rows;
  const int32_t* starts;
  int x_rows;
  int places;
  int in;
  Tiling tiling;
  HopperOutput output;
};

template <typename W, int kR, int kP>
struct Shape {
  using Weights = W;
  using Operand = typename Weights::Operand;
  static constexpr int kStageK = kRowBytes / sizeof(Operand);  // elements of K of a stage
  static constexpr int kRowsOfW = kR;
  static constexpr int kPlaces = kP;
  static constexpr int kConsumers = std::max(1, kRowsOfW / kWarpgroupRows);
  static constexpr int kThreads = kWarpgroup * (kConsumers + 1);
  static constexpr int kStoredRows = std::min(kRowsOfW, kWarpgroupRows);  // of a warpgroup
  static constexpr int kBoxRows = kRowsOfW < kWarpgroupRows ? kNarrowBoxRows : kWarpgroupRows;
  static constexpr int kWeightBytes = Weights::kBoxBytes * kConsumers;
  static constexpr int kFetchedBytes = Weights::kFetchedBytes * kRowsOfW / kWarpgroupRows;
  static constexpr int kStageBytes = kWeightBytes + kPlaces * kRowBytes;
  static constexpr int kStages = std::min(kMaxStages, kRingBytes / kStageBytes);
  // Stages whose rows of x are on their way at a time.
  static constexpr int kGathering = kStages / 2;
};

// What lies in shared memory.
template <typename S>
struct Shared {
  unsigned char stages[S::kStages][S::kStageBytes];  // rows of W, then places of x
  float staged[S::kConsumers][kStagedFloats];
  gpu::Barrier full[S::kStages];   // a phase ends when a stage is filled
  gpu::Barrier empty[S::kStages];  // … and may be filled again
  int32_t tiles[2 * (kMaxTiledExperts + 1)];
};

// A stage of the ring and how often the ring has been run through, modulo 2.
template <int kStages>
struct Turn {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// The rows of x that one thread of the fetching warpgroup gathers: 16-byte chunk `chunk` of places
// first, first + 16, … of a tile.
template <int kPlaces, int kElementBytes>
struct Gatherer {
  static constexpr int kElementsPerChunk = kChunkBytes / kElementBytes;
  static constexpr int kChunks = kRowBytes / kChunkBytes;
  static constexpr int kStep = kWarpgroup / kChunks;
  static constexpr int kCount = (kPlaces + kStep - 1) / kStep;
  int chunk, first;
  int32_t sources[kCount];  // its first chunk of each row, counted from x; -1 beyond the tile

  __device__ __forceinline__ explicit Gatherer(int thread)
      : chunk(thread % kChunks), first(thread / kChunks) {}

  __device__ __forceinline__ void Begin(const HopperTask& task, const Tile& tile) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int place = first + i * kStep;
      sources[i] = -1;
      if (place >= tile.places) continue;
      const int p = tile.first_place + place;
      const int32_t row = task.rows != nullptr ? task.rows[p] : p;
      gpu::Require(row >= 0 && row < task.x_rows);
      sources[i] = row * (task.in / kElementsPerChunk) + chunk;
    }
  }
  // The stage of the rows that begins with element k; zeros beyond `in` and the tile.
  __device__ __forceinline__ void Load(const HopperTask& task, int k, unsigned char* to) const {
    const bool inside = k + chunk * kElementsPerChunk < task.in;
    to += first * kRowBytes + (chunk ^ first % 8) * kChunkBytes;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (kPlaces < kStep && first >= kPlaces) break;
      const bool valid = inside && sources[i] >= 0;
      const int32_t source = valid ? sources[i] + k / kElementsPerChunk : 0;
      gpu::CopyAsync16(to + i * kStep * kRowBytes, task.x + int64_t{source} * kChunkBytes, valid);
    }
  }
};

// Says that the warp is done with a stage.
__device__ __forceinline__ void Release(gpu::Barrier* empty) {
  if (threadIdx.x % 32 == 0) gpu::Arrive(empty);
}

// Says that this thread's part of a stage has landed.
__device__ __forceinline__ void AnnounceGathered(gpu::Barrier* full) {
  gpu::FenceAsyncProxy();
  gpu::SyncWarp();
  if (threadIdx.x % 32 == 0) gpu::Arrive(full);
}

template <typename S>
__device__ __forceinline__ void Fetch(const gpu::TensorMap& weights, const HopperTask& task,
                                      Shared<S>& shared, const TileTable& table) {
  using Weights = typename S::Weights;
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  Gatherer<S::kPlaces, sizeof(typename S::Operand)> gatherer(thread);
  Turn<S::kStages> filling, landing;
  int gathering = 0;
  const int count = TileCount(table, task.tiling);
  for (int index = blockIdx.x; index < count; index += gridDim.x) {
    const Tile tile = FindTile(table, task.tiling, index);
    gatherer.Begin(task, tile);
    for (int k = 0; k < task.in; k += S::kStageK) {
      unsigned char* stage = shared.stages[filling.stage];
      gpu::Barrier* full = &shared.full[filling.stage];
      gpu::WaitPhase(&shared.empty[filling.stage], filling.parity ^ 1);
      if (thread == 0) {
        gpu::ArriveExpecting(full, S::kFetchedBytes);
#pragma unroll
        for (int row = 0; row < S::kRowsOfW; row += S::kBoxRows) {
          Weights::Fetch(weights, full, task, tile.expert, tile.out_block * S::kRowsOfW + row, k,
                         stage + row * (Weights::kBoxBytes / kWarpgroupRows));
        }
      }
      gatherer.Load(task, k, stage + S::kWeightBytes);
      gpu::CommitCopies();
      filling.Advance();
      if (gathering < S::kGathering) {
        ++gathering;
        continue;
      }
      gpu::WaitCopies<S::kGathering>();
      AnnounceGathered(&shared.full[landing.stage]);
      landing.Advance();
    }
  }
  gpu::WaitCopies<0>();
  for (; gathering > 0; --gathering) {
    AnnounceGathered(&shared.full[landing.stage]);
    landing.Advance();
  }
}

template <typename S>
__device__ __forceinline__ void MultiplyTiles(const HopperTask& task, int warpgroup,
                                              Shared<S>& shared, const TileTable& table) {
  using Weights = typename S::Weights;
  Turn<S::kStages> turn;
  const int count = TileCount(table, task.tiling);
  for (int index = blockIdx.x; index < count; index += gridDim.x) {
    const Tile tile = FindTile(table, task.tiling, index);
    float d[S::kPlaces / 2];
    Weights::Sum(task.in, warpgroup, shared, turn, d);
    StoreTile<typename Weights::Number, S::kStoredRows, sizeof(typename S::Operand) == 1>(
        task.output, tile, tile.out_block * S::kRowsOfW + warpgroup * kWarpgroupRows, d,
        shared.staged[warpgroup], 1 + warpgroup);
  }
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 1)
    HopperProductKernel(const __grid_constant__ gpu::TensorMap weights, const HopperTask task) {
  auto& shared = *reinterpret_cast<Shared<S>*>(gpu::SharedMemory());
  const TileTable table = {shared.tiles, shared.tiles + kMaxTiledExperts + 1};
  // The same for all lanes, which the compiler could not tell otherwise.
  const int warp = gpu::Shuffle(static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 32) {
    gpu::Require(gpu::SharedAddress(shared.stages) % 1024 == 0);
    for (int i = 0; i < S::kStages; ++i) {
      gpu::InitBarrier(&shared.full[i], 1 + kWarpgroup / 32);  // the copy engine's and each warp's
      gpu::InitBarrier(&shared.empty[i], S::kConsumers * kWarpgroup / 32);
    }
    gpu::FenceBarrierInit();
  }
  gpu::WaitForPrevious();
  LoadStarts(task.starts, task.places, task.tiling, table, static_cast<int>(threadIdx.x),
             S::kThreads);
  gpu::SyncBlock();
  if (warp == 0) CountTiles(task.tiling, table);
  gpu::SyncBlock();
  gpu::LaunchNext();
  if (warp / 4 == S::kConsumers) {
    if constexpr (kMovesRegisters<S::kConsumers>) gpu::ReleaseRegisters<kFetchRegisters>();
    Fetch(weights, task, shared, table);
  } else {
    if constexpr (kMovesRegisters<S::kConsumers>) gpu::ClaimRegisters<kMultiplyRegisters>();
    MultiplyTiles(task, warp / 4, shared, table);
  }
}

inline Tiling TilingOf(const Product& product, const HopperTile& tile) {
  return {static_cast<int>(product.experts),
          static_cast<int>((product.out + tile.rows - 1) / tile.rows), tile.places};
}

template <typename S>
void LaunchShape(const gpu::TensorMap& weights, const HopperTask& task, int multiprocessors,
                 Stream stream) {
  static_assert(sizeof(Shared<S>) <= 227 * 1024);
  const int64_t blocks = std::min<int64_t>(MostTiles(task.places, task.tiling), multiprocessors);
  gpu::Launch(HopperProductKernel<S>,
              {dim3(static_cast<unsigned>(blocks)), S::kThreads, sizeof(Shared<S>)}, stream,
              weights, task);
}

// Of all tiles that have a kernel, from number kIndex on, launches `tile`'s.
template <typename Weights, size_t kIndex = 0>
void LaunchTile(const HopperMaps& weights, const HopperTask& task, const HopperTile& tile,
                int multiprocessors, Stream stream) {
  constexpr size_t kPlaces = kTilePlaces.size();
  constexpr HopperTile kTile = {kTileRows[kIndex / kPlaces], kTilePlaces[kIndex % kPlaces]};
  if constexpr (IsHopperTile(kTile, Weights::kFormat)) {
    if (tile == kTile) {
      return LaunchShape<Shape<Weights, kTile.rows, kTile.places>>(
          IsNarrow(tile) ? weights.narrow : weights.whole, task, multiprocessors, stream);
    }
  }
  if constexpr (kIndex + 1 < kTileRows.size() * kPlaces) {
    LaunchTile<Weights, kIndex + 1>(weights, task, tile, multiprocessors, stream);
  }
}

// `weights` are the maps of product.weights, made for this class.
template <typename Weights>
void LaunchHopperProduct(const Product& product, const HopperMaps& weights, const HopperTile& tile,
                         int multiprocessors, Stream stream) {
  const HopperTask task = {product.x.as<unsigned char>(),
                           product.rows,
                           product.starts,
                           static_cast<int>(product.x.rows()),
                           static_cast<int>(product.places),
                           static_cast<int>(product.x.cols()),
                           TilingOf(product, tile),
                           {product.scales, product.bias, static_cast<int>(product.out),
                            product.activation, product.gated, product.row_scales, product.rows,
                            product.y.data, product.y.dtype == DType::kFloat32, product.y.cols()}};
  LaunchTile<Weights>(weights, task, tile, multiprocessors, stream);
}

}  // namespace tessera::cuda
