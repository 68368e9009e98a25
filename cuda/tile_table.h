// Which tile each product takes: measured on one kind of GPU (tuning.h), kept in files
// (tile_file.h).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/kernels/hopper_tile.h"
#include "cuda/weight_format.h"

namespace tessera {

// What decides, beside the number of places, which tile is best. bfloat16 and float16 are alike.
struct ProductShape {
  int64_t experts = 1;
  int64_t in = 0;
  int64_t out = 0;  // rows of an expert's weights
  WeightFormat format = WeightFormat::kActivations;
  bool gated = false;
  bool gathered = false;  // rows of x are taken by index
  auto operator<=>(const ProductShape&) const = default;
};
std::string ToString(const ProductShape& shape);

// Bucket b is of 2^(b - 1) + 1 … 2^b places; the last one also of all beyond.
constexpr int kPlaceBuckets = 14;
int PlaceBucket(int64_t places);
constexpr int64_t MostPlaces(int bucket) { return int64_t{1} << bucket; }

class TileTable {
 public:
  // Of buckets 0, 1, …; the last one holds for all above. Never empty.
  using Tiles = std::vector<cuda::HopperTile>;

  // Null where the shape is not there.
  const cuda::HopperTile* Find(const ProductShape& shape, int64_t places) const;
  bool Has(const ProductShape& shape) const { return shapes_.contains(shape); }
  void Set(const ProductShape& shape, Tiles tiles) { shapes_[shape] = std::move(tiles); }
  // Takes over all of `other`'s shapes.
  void Add(const TileTable& other);

  const std::map<ProductShape, Tiles>& shapes() const { return shapes_; }
  bool operator==(const TileTable&) const = default;

 private:
  std::map<ProductShape, Tiles> shapes_;
};

}  // namespace tessera
