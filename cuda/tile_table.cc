#include "cuda/tile_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace tessera {

std::string ToString(const ProductShape& shape) {
  const bool quantised = shape.format != WeightFormat::kActivations;
  return fmt::format("{} x {} -> {}{}{}{}{}", shape.experts, shape.in, shape.out,
                     quantised ? ", " : "", WeightFormatName(shape.format),
                     shape.gated ? ", gated" : "", shape.gathered ? ", gathered" : "");
}

int PlaceBucket(int64_t places) {
  if (places <= 1) return 0;
  return std::min(kPlaceBuckets - 1, static_cast<int>(std::bit_width(uint64_t(places) - 1)));
}

const cuda::HopperTile* TileTable::Find(const ProductShape& shape, int64_t places) const {
  const auto found = shapes_.find(shape);
  if (found == shapes_.end()) return nullptr;
  const Tiles& tiles = found->second;
  return &tiles[std::min(tiles.size() - 1, static_cast<size_t>(PlaceBucket(places)))];
}

void TileTable::Add(const TileTable& other) {
  for (const auto& [shape, tiles] : other.shapes_) shapes_[shape] = tiles;
}

}  // namespace tessera
