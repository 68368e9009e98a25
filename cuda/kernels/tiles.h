// How the product of grouped rows falls into tiles: expert × block of rows of W × block of places.
// Tiles are numbered expert by expert, block of W by block of W, so that those which read the same
// weights run together and find them in the L2 cache.
#pragma once

#include <algorithm>

#include "cuda/kernels/hopper_tile.h"
#include "gpu/gpu.h"

namespace tessera::cuda {

struct Tiling {
  int experts = 1;
  int out_blocks = 1;
  int tile_places = 1;  // the most places of a tile
};

// What a block knows about the experts, in shared memory; both [experts + 1].
struct TileTable {
  int32_t* places;  // the first of each expert
  int32_t* tiles;   // the first of each expert
};

struct Tile {
  int expert;
  int out_block;
  int first_place;
  int places;  // 1 … tile_places
};

__host__ __device__ __forceinline__ int32_t PlaceBlocks(int32_t places, const Tiling& tiling) {
  return (places + tiling.tile_places - 1) / tiling.tile_places;
}
__host__ __device__ __forceinline__ int32_t TilesOf(int32_t places, const Tiling& tiling) {
  return PlaceBlocks(places, tiling) * tiling.out_blocks;
}

// The most tiles that any division of the places among the experts gives: one place for each expert
// makes a tile, and from there on every `tile_places` more another.
inline int64_t MostTiles(int64_t places, const Tiling& tiling) {
  const int64_t used = std::min<int64_t>(tiling.experts, places);
  return (used + (places - used) / tiling.tile_places) * tiling.out_blocks;
}

// Fills table.places; `threads` threads call, of which this is number `thread`. `starts` [experts +
// 1] may be null where there is one expert, with all the places.
__device__ __forceinline__ void LoadStarts(const int32_t* starts, int32_t places,
                                           const Tiling& tiling, const TileTable& table, int thread,
                                           int threads) {
  for (int i = thread; i <= tiling.experts; i += threads) {
    table.places[i] = starts != nullptr ? starts[i] : i * places;
  }
}

// Fills table.tiles by table.places; all lanes of one warp call.
__device__ __forceinline__ void CountTiles(const Tiling& tiling, const TileTable& table) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int32_t before = 0;  // tiles of the experts below `first`
  for (int first = 0; first <= tiling.experts; first += 32) {
    const int expert = first + lane;
    const int32_t own = expert < tiling.experts
                            ? TilesOf(table.places[expert + 1] - table.places[expert], tiling)
                            : 0;
    int32_t sum = own;  // of lanes 0 … lane
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t lower = gpu::Shuffle(sum, lane >= distance ? lane - distance : lane);
      if (lane >= distance) sum += lower;
    }
    if (expert <= tiling.experts) table.tiles[expert] = before + sum - own;
    before += gpu::Shuffle(sum, 31);
  }
}

__host__ __device__ __forceinline__ int32_t TileCount(const TileTable& table,
                                                      const Tiling& tiling) {
  return table.tiles[tiling.experts];
}

// Tile `index` < TileCount().
__host__ __device__ __forceinline__ Tile FindTile(const TileTable& table, const Tiling& tiling,
                                                  int32_t index) {
  int low = 0;  // its expert is in [low, high)
  int high = tiling.experts;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.tiles[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int32_t end = table.places[low + 1];
  const int32_t blocks = PlaceBlocks(end - table.places[low], tiling);
  const int32_t rest = index - table.tiles[low];
  const int32_t first = table.places[low] + rest % blocks * tiling.tile_places;
  return {low, rest / blocks, first,
          end - first < tiling.tile_places ? end - first : tiling.tile_places};
}

}  // namespace tessera::cuda
