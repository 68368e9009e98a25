// Which tile is fastest for a product's shape, bucket by bucket. It never changes results: the
// kernels sum K in one order whatever the tile.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "cuda/tile_timer.h"

namespace tessera {

struct TuningOptions {
  TileTimer::Options timer;
  std::chrono::duration<double> most = std::chrono::seconds(60);  // of all shapes together
};

// Those worth timing: no tile where half of it holds all places, nor rows that the weights lack,
// nor narrow ones where whole ones keep all `multiprocessors` busy twice over.
std::vector<cuda::HopperTile> CandidateTiles(const ProductShape& shape, int64_t places,
                                             int multiprocessors);

// For all buckets that the timer has memory for, timed at their most places; nullopt where
// `deadline` came before.
std::optional<TileTable::Tiles> BestTiles(const ProductShape& shape,
                                          std::chrono::steady_clock::time_point deadline,
                                          TileTimer& timer);

}  // namespace tessera
