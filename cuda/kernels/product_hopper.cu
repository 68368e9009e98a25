// A persistent, warp-specialised product for sm_90a. W lies on the tensor cores' M, places on their
// N, so that few places waste little. One warpgroup fetches: the copy engine brings tiles of W, its
// threads gather rows of x, both into a ring of stages of 64 elements of K; the others multiply.
// Each element of y is one float32 accumulator over all of K, stage by stage.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/kernels/hopper_store.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/product_hopper.h"
#include "cuda/kernels/tiles.h"
#include "gpu/hopper.h"

namespace tessera::cuda {
namespace {

constexpr int kStageK = 64;     // elements of K of a stage
constexpr int kRowBytes = 128;  // of a row of a stage, swizzled as LoadTile() does
constexpr int kWeightBoxBytes = kWarpgroupRows * kRowBytes;
constexpr int kRingBytes = 200 * 1024;
constexpr int kMostStages = 16;
constexpr int kElementsPerChunk = 8;  // 16 bytes
constexpr int kMinPlaces = 8;
constexpr int kMaxPlaces = 256;

// Registers of each thread where three warpgroups share them: the one that fetches gives up what
// those with the accumulators need. Two warpgroups have enough anyway.
constexpr int kLaunchRegisters = 65536 / (3 * kWarpgroup) / 8 * 8;
constexpr int kFetchRegisters = 72;
constexpr int kMultiplyRegisters = 216;
static_assert(kFetchRegisters + 2 * kMultiplyRegisters <= 3 * kLaunchRegisters);
template <int kConsumers>
constexpr bool kMovesRegisters = kConsumers == 2;

struct Task {
  const unsigned char* x;  // [x_rows, in], 16-bit
  const int32_t* rows;
  const int32_t* starts;
  int x_rows;
  int places;
  int in;
  Tiling tiling;
  HopperOutput output;
};

template <int kConsumers, int kPlaces>
struct Shape {
  static constexpr int kThreads = kWarpgroup * (kConsumers + 1);
  static constexpr int kRowsOfW = kWarpgroupRows * kConsumers;
  static constexpr int kWeightBytes = kWeightBoxBytes * kConsumers;
  static constexpr int kStageBytes = kWeightBytes + kPlaces * kRowBytes;
  static constexpr int kStages = std::min(kMostStages, kRingBytes / kStageBytes);
  // Stages whose rows of x are on their way at a time.
  static constexpr int kGathering = kStages / 2;
};

// What lies in shared memory.
template <typename S>
struct Shared {
  unsigned char stages[S::kStages][S::kStageBytes];  // rows of W, then places of x
  float staged[S::kRowsOfW / kWarpgroupRows][kStagedFloats];
  gpu::Barrier full[S::kStages];   // a phase ends when a stage is filled
  gpu::Barrier empty[S::kStages];  // … and may be filled again
  int32_t tiles[2 * (kMostTiledExperts + 1)];
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
template <int kPlaces>
struct Gatherer {
  static constexpr int kChunks = kStageK / kElementsPerChunk;
  static constexpr int kStep = kWarpgroup / kChunks;
  static constexpr int kCount = (kPlaces + kStep - 1) / kStep;
  int chunk, first;
  int32_t sources[kCount];  // its first chunk of each row, counted from x; -1 beyond the tile

  __device__ __forceinline__ explicit Gatherer(int thread)
      : chunk(thread % kChunks), first(thread / kChunks) {}

  __device__ __forceinline__ void Begin(const Task& task, const Tile& tile) {
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
  // Elements [k, k + 64) of the rows; zeros beyond `in` and the tile.
  __device__ __forceinline__ void Load(const Task& task, int k, unsigned char* to) const {
    const bool inside = k + chunk * kElementsPerChunk < task.in;
    to += first * kRowBytes + (chunk ^ first % 8) * 16;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (kPlaces < kStep && first >= kPlaces) break;
      const bool valid = inside && sources[i] >= 0;
      const int32_t source = valid ? sources[i] + k / kElementsPerChunk : 0;
      gpu::CopyAsync16(to + i * kStep * kRowBytes, task.x + int64_t{source} * 16, valid);
    }
  }
};

// Says that this thread's part of a stage has landed.
__device__ __forceinline__ void AnnounceGathered(gpu::Barrier* full) {
  gpu::FenceAsyncProxy();
  gpu::SyncWarp();
  if (threadIdx.x % 32 == 0) gpu::Arrive(full);
}

template <int kConsumers, int kPlaces>
__device__ __forceinline__ void Fetch(const gpu::TensorMap& weights, const Task& task,
                                      Shared<Shape<kConsumers, kPlaces>>& shared,
                                      const TileTable& table) {
  using S = Shape<kConsumers, kPlaces>;
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  Gatherer<kPlaces> gatherer(thread);
  Turn<S::kStages> filling, landing;
  int gathering = 0;
  const int count = TileCount(table, task.tiling);
  for (int index = blockIdx.x; index < count; index += gridDim.x) {
    const Tile tile = FindTile(table, task.tiling, index);
    gatherer.Begin(task, tile);
    for (int k = 0; k < task.in; k += kStageK) {
      unsigned char* stage = shared.stages[filling.stage];
      gpu::Barrier* full = &shared.full[filling.stage];
      gpu::WaitPhase(&shared.empty[filling.stage], filling.parity ^ 1);
      if (thread == 0) {
        gpu::ArriveExpecting(full, S::kWeightBytes);
#pragma unroll
        for (int i = 0; i < kConsumers; ++i) {
          gpu::LoadTile(stage + i * kWeightBoxBytes, weights, full, k,
                        tile.out_block * S::kRowsOfW + i * kWarpgroupRows, tile.expert);
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

// Adds one stage to the accumulators; those of the first are overwritten.
template <typename T, int kPlaces>
__device__ __forceinline__ void MultiplyStage(const unsigned char* weights,
                                              const unsigned char* places, bool first,
                                              float (&d)[kPlaces / 2]) {
  constexpr auto kType =
      std::is_same_v<T, BFloat16> ? gpu::HalfType::kBFloat16 : gpu::HalfType::kFloat16;
  const uint64_t a = gpu::MatrixDescriptor(weights);
  const uint64_t b = gpu::MatrixDescriptor(places);
  gpu::FenceMultiply();
#pragma unroll
  for (int i = 0; i < kStageK / 16; ++i) {
    gpu::MultiplyTile<kType>(d, a + 2 * i, b + 2 * i, !first || i > 0);
  }
  gpu::CommitMultiply();
}

template <typename T, int kConsumers, int kPlaces>
__device__ __forceinline__ void MultiplyTiles(const Task& task, int warpgroup,
                                              Shared<Shape<kConsumers, kPlaces>>& shared,
                                              const TileTable& table) {
  using S = Shape<kConsumers, kPlaces>;
  const auto release = [&](int stage) {
    if (threadIdx.x % 32 == 0) gpu::Arrive(&shared.empty[stage]);
  };
  Turn<S::kStages> turn;
  const int count = TileCount(table, task.tiling);
  for (int index = blockIdx.x; index < count; index += gridDim.x) {
    const Tile tile = FindTile(table, task.tiling, index);
    float d[kPlaces / 2];
    int before = 0;  // the stage of the products under way
    for (int k = 0; k < task.in; k += kStageK) {
      unsigned char* stage = shared.stages[turn.stage];
      gpu::WaitPhase(&shared.full[turn.stage], turn.parity);
      MultiplyStage<T, kPlaces>(stage + warpgroup * kWeightBoxBytes, stage + S::kWeightBytes,
                                k == 0, d);
      gpu::WaitMultiply<1>();
      if (k > 0) release(before);
      before = turn.stage;
      turn.Advance();
    }
    gpu::WaitMultiply<0>();
    gpu::HoldAccumulators(d);
    release(before);
    StoreTile<T>(task.output, tile, tile.out_block * S::kRowsOfW + warpgroup * kWarpgroupRows, d,
                 shared.staged[warpgroup], 1 + warpgroup);
  }
}

template <typename T, int kConsumers, int kPlaces>
__global__ void __launch_bounds__(Shape<kConsumers, kPlaces>::kThreads, 1)
    HopperProductKernel(const __grid_constant__ gpu::TensorMap weights, const Task task) {
  using S = Shape<kConsumers, kPlaces>;
  auto& shared = *reinterpret_cast<Shared<S>*>(gpu::SharedMemory());
  const TileTable table = {shared.tiles, shared.tiles + kMostTiledExperts + 1};
  // The same for all lanes, which the compiler could not tell otherwise.
  const int warp = gpu::Shuffle(static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 32) {
    gpu::Require(gpu::SharedAddress(shared.stages) % 1024 == 0);
    for (int i = 0; i < S::kStages; ++i) {
      gpu::InitBarrier(&shared.full[i], 1 + kWarpgroup / 32);  // the copy engine's and each warp's
      gpu::InitBarrier(&shared.empty[i], kConsumers * kWarpgroup / 32);
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
  if (warp / 4 == kConsumers) {
    if constexpr (kMovesRegisters<kConsumers>) gpu::ReleaseRegisters<kFetchRegisters>();
    Fetch<kConsumers, kPlaces>(weights, task, shared, table);
  } else {
    if constexpr (kMovesRegisters<kConsumers>) gpu::ClaimRegisters<kMultiplyRegisters>();
    MultiplyTiles<T, kConsumers, kPlaces>(task, warp / 4, shared, table);
  }
}

Tiling TilingOf(const Product& product, const HopperTile& tile) {
  const int64_t rows = int64_t{kWarpgroupRows} * tile.consumers;
  return {static_cast<int>(product.experts), static_cast<int>((product.out + rows - 1) / rows),
          tile.places};
}

template <typename T, int kConsumers, int kPlaces>
void LaunchShape(const gpu::TensorMap& weights, const Task& task, int multiprocessors,
                 Stream stream) {
  using S = Shape<kConsumers, kPlaces>;
  static_assert(sizeof(Shared<S>) <= 227 * 1024);
  const int64_t blocks = std::min<int64_t>(MostTiles(task.places, task.tiling), multiprocessors);
  gpu::Launch(HopperProductKernel<T, kConsumers, kPlaces>,
              {dim3(static_cast<unsigned>(blocks)), S::kThreads, sizeof(Shared<S>)}, stream,
              weights, task);
}

template <typename T, int kConsumers>
void LaunchPlaces(const gpu::TensorMap& weights, const Task& task, int multiprocessors,
                  Stream stream) {
  const auto launch = [&](auto places) {
    LaunchShape<T, kConsumers, places>(weights, task, multiprocessors, stream);
  };
  switch (task.tiling.tile_places) {
    case 8:
      return launch(std::integral_constant<int, 8>());
    case 16:
      return launch(std::integral_constant<int, 16>());
    case 32:
      return launch(std::integral_constant<int, 32>());
    case 64:
      return launch(std::integral_constant<int, 64>());
    case 128:
      return launch(std::integral_constant<int, 128>());
    default:
      return launch(std::integral_constant<int, 256>());
  }
}

}  // namespace

bool HopperProductFits(const Product& product) {
  const auto aligned = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  };
  const DType type = product.x.dtype;
  return (type == DType::kBFloat16 || type == DType::kFloat16) &&
         (product.y.dtype == type || product.y.dtype == DType::kFloat32) &&
         product.x.cols() % kElementsPerChunk == 0 && product.stride % kElementsPerChunk == 0 &&
         aligned(product.x.data) && aligned(product.weights) &&
         product.x.elements() / kElementsPerChunk <= INT32_MAX &&
         product.experts <= kMostTiledExperts && (!product.gated || product.out % 16 == 0) &&
         MostTiles(product.places, TilingOf(product, {1, kMinPlaces})) <= INT32_MAX;
}

bool MapHopperWeights(const void* weights, int64_t experts, int64_t out, int64_t stride,
                      gpu::TensorMap& map) {
  const auto size = [](int64_t n) { return static_cast<uint64_t>(n); };
  gpu::TensorBoxes boxes;
  boxes.data = weights;
  boxes.dims = {size(stride), size(out), size(experts)};
  boxes.strides = {size(stride * 2), size(out * stride * 2)};
  boxes.box = {kStageK, kWarpgroupRows, 1};
  return gpu::MakeTensorMap(boxes, map);
}

// The smallest tile that holds most experts' places, when those that have any have about as many
// (the square root is the deviation of a random choice); then smaller ones while half the
// multiprocessors would have nothing to do.
HopperTile ChooseHopperTile(const Product& product, int multiprocessors) {
  const int64_t used = std::max<int64_t>(1, std::min(product.experts, product.places));
  const double mean = static_cast<double>(product.places) / static_cast<double>(used);
  const double usual = used == 1 ? mean : mean + std::sqrt(mean);
  HopperTile tile = {product.out > kWarpgroupRows ? 2 : 1, kMinPlaces};
  while (tile.places < kMaxPlaces && tile.places < usual) tile.places *= 2;
  constexpr int kFewPlaces = 32;  // below, more tiles only read more
  const auto idle = [&] {
    return MostTiles(product.places, TilingOf(product, tile)) * 2 <= multiprocessors;
  };
  if (tile.consumers == 2 && idle()) tile.consumers = 1;
  while (tile.places > kFewPlaces && idle()) tile.places /= 2;
  return tile;
}

void RunHopperProduct(const Product& product, const gpu::TensorMap& weights, const HopperTile& tile,
                      int multiprocessors, Stream stream) {
  const Task task = {
      product.x.as<unsigned char>(),
      product.rows,
      product.starts,
      static_cast<int>(product.x.rows()),
      static_cast<int>(product.places),
      static_cast<int>(product.x.cols()),
      TilingOf(product, tile),
      {product.bias, static_cast<int>(product.out), product.activation, product.gated,
       product.y.data, product.y.dtype == DType::kFloat32, product.y.cols()}};
  const auto launch = [&](auto element) {
    using T = decltype(element);
    if (tile.consumers == 2) {
      LaunchPlaces<T, 2>(weights, task, multiprocessors, stream);
    } else {
      LaunchPlaces<T, 1>(weights, task, multiprocessors, stream);
    }
  };
  if (product.x.dtype == DType::kBFloat16) {
    launch(BFloat16());
  } else {
    launch(Float16());
  }
}

}  // namespace tessera::cuda
