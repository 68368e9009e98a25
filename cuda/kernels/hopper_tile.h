// The tiles of the Hopper product (product_hopper.h).
#pragma once

#include <algorithm>
#include <array>

#include "cuda/weight_format.h"

namespace tessera::cuda {

// Raised when a change to the kernels may change which tile is best: what was measured before is
// then void.
constexpr int kHopperKernels = 2;

constexpr int kMaxTiledExperts = 512;

// A block computes `rows` rows of W for `places` places of one expert at a time.
struct HopperTile {
  int rows = 128;    // one of kTileRows
  int places = 256;  // one of kTilePlaces
  bool operator==(const HopperTile&) const = default;
};

constexpr std::array<int, 4> kTileRows = {16, 32, 64, 128};
constexpr std::array<int, 6> kTilePlaces = {8, 16, 32, 64, 128, 256};

// Fewer rows of W than the tensor cores take at a time waste most of their work, so that W is read
// by more multiprocessors: worth it where few places leave that work idle.
constexpr int kWholeRows = 64;
constexpr int kMaxNarrowPlaces = 32;
constexpr bool IsNarrow(const HopperTile& tile) { return tile.rows < kWholeRows; }

// 4-bit weights come 64 rows at a time (four_bit.h).
constexpr int LeastTileRows(WeightFormat format) {
  return format == WeightFormat::kInt4 ? kWholeRows : kTileRows[0];
}

// Products of 8-bit numbers need twice the accumulators (product_float8_hopper.cu).
constexpr int MostTilePlaces(WeightFormat format) {
  return format == WeightFormat::kFloat8W8A8 ? 128 : kTilePlaces.back();
}

// Whether there is a kernel for it.
constexpr bool IsHopperTile(const HopperTile& tile, WeightFormat format) {
  const auto is_in = [](const auto& values, int value) {
    return std::find(values.begin(), values.end(), value) != values.end();
  };
  return is_in(kTileRows, tile.rows) && is_in(kTilePlaces, tile.places) &&
         tile.rows >= LeastTileRows(format) && tile.places <= MostTilePlaces(format) &&
         (!IsNarrow(tile) || tile.places <= kMaxNarrowPlaces);
}

}  // namespace tessera::cuda
