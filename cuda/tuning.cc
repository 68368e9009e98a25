#include "cuda/tuning.h"

#include <limits>

namespace tessera {

std::vector<cuda::HopperTile> CandidateTiles(const ProductShape& shape, int64_t places) {
  constexpr int kWarpgroupRows = 64;
  std::vector<cuda::HopperTile> tiles;
  for (const int tile_places : cuda::kTilePlaces) {
    if (tile_places > cuda::kTilePlaces[0] && tile_places / 2 >= places) break;
    tiles.push_back({1, tile_places});
    if (shape.out > kWarpgroupRows) tiles.push_back({2, tile_places});
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
    for (const cuda::HopperTile& tile : CandidateTiles(shape, MostPlaces(bucket))) {
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
