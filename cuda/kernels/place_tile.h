// Which places of which expert a block of a grouped product takes: the places of every expert in
// tiles, one expert after the other.
#pragma once

#include "gpu/gpu.h"

namespace tessera::cuda {

struct PlaceTile {
  int expert;  // < 0: there are fewer tiles
  int begin;
  int count;
};

// Tile `index` of tiles of at most `size` places; starts [experts + 1], or null: one expert takes
// all `places`. One whole warp calls.
__device__ __forceinline__ PlaceTile FindPlaceTile(const int32_t* starts, int experts, int places,
                                                   int size, int index) {
  if (starts == nullptr) {
    const int begin = index * size;
    return begin < places ? PlaceTile{0, begin, min(size, places - begin)} : PlaceTile{-1, 0, 0};
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int before = 0;
  for (int first = 0; first < experts; first += 32) {
    const int expert = first + lane;
    const int begin = expert < experts ? starts[expert] : 0;
    const int count = expert < experts ? starts[expert + 1] - begin : 0;
    const int tiles = (count + size - 1) / size;
    int upto = tiles;  // of this lane's expert and those before it in the warp
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int below = gpu::Shuffle(upto, lane - step);
      if (lane >= step) upto += below;
    }
    const int local = index - before - (upto - tiles);  // of the index among this expert's
    const uint32_t found = gpu::Ballot(local >= 0 && local < tiles);
    if (found != 0) {
      const int owner = __ffs(found) - 1;
      const int tile_begin = gpu::Shuffle(begin + local * size, owner);
      const int tile_count = gpu::Shuffle(min(size, count - local * size), owner);
      return {first + owner, tile_begin, tile_count};
    }
    before += gpu::Shuffle(upto, 31);
  }
  return {-1, 0, 0};
}

// No grouped product has more tiles than this, whatever the counts.
inline int64_t MostPlaceTiles(int64_t places, int64_t experts, int64_t size) {
  return places / size + (places < experts ? places : experts);
}

}  // namespace tessera::cuda
