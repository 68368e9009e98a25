#include "cuda/tuning.h"

#include <limits>

namespace tessera {

std::vector<cuda::HopperTile> CandidateTiles(const ProductShape& shape, int64_t places,
                                             int multiprocessors) {
  const int64_t whole =
      std::min(shape.experts, places) * ((shape.out + cuda::kWholeRows - 1) / cuda::kWholeRows);
  const bool narrow = whole < 2 * int64_t{multiprocessors};
  std::vector<cuda::HopperTile> tiles;
  for (const int tile_places : cuda::kTilePlaces) {
    if (tile_places > cuda::kTilePlaces[0] && tile_places / 2 >= places) break;
    for (const int rows : cuda::kTileRows) {
      const cuda::HopperTile tile = {rows, tile_places};
      const bool wanted =
          IsNarrow(tile) ? narrow : rows == cuda::kWholeRows || rows / 2 < shape.out;
      if (wanted && IsHopperTile(tile, shape.format)) tiles.push_back(tile);
    }
  }
  return tiles;
}

std::optional<TileTable::Tiles> BestTiles(const ProductShape& shape,
                                          std::chrono::steady_clock::time_point deadline,
                                          TileTimer& timer) {
  TileTable::Tiles tiles;
  for (int bucket = 0; bucket < kPlaceBuckets && MostPlaces(bucket) <= timer.most_places();
       ++bucket) {
    timer.SetPlaces(MostPlaces(bucket));
    double least = std::numeric_limits<double>::infinity();
    cuda::HopperTile best;
    for (const cuda::HopperTile& tile :
         CandidateTiles(shape, MostPlaces(bucket), timer.multiprocessors())) {
      if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
      const double seconds = timer.Time(tile);
      if (seconds >= least) continue;
      least = seconds;
      best = tile;
    }
    tiles.push_back(best);
  }
  return tiles;
}

}  // namespace tessera
