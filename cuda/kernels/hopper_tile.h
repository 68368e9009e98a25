// The tiles of the Hopper product (product_hopper.h).
#pragma once

#include <algorithm>
#include <array>

namespace tessera::cuda {

// Raised when a change to the kernels may change which tile is best: what was measured before is
// then void.
constexpr int kHopperKernels = 1;

// A block computes 64 · consumers rows of W (1 or 2 warpgroups of 64) for `places` places of one
// expert at a time.
struct HopperTile {
  int consumers = 2;
  int places = 256;  // one of kTilePlaces
  bool operator==(const HopperTile&) const = default;
};

constexpr std::array<int, 6> kTilePlaces = {8, 16, 32, 64, 128, 256};

// Whether there is a kernel for it.
constexpr bool IsHopperTile(const HopperTile& tile) {
  return (tile.consumers == 1 || tile.consumers == 2) &&
         std::find(kTilePlaces.begin(), kTilePlaces.end(), tile.places) != kTilePlaces.end();
}

}  // namespace tessera::cuda
