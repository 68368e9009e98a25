// cuda/kernels/tiles.h, run by emulated warps, against loops over experts and blocks.
#include "cuda/kernels/tiles.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <tuple>
#include <vector>

namespace tessera::cuda {
namespace {

struct Listing {
  int32_t count = -1;
  Tile* tiles = nullptr;
};

void ListTiles(const int32_t* starts, int32_t places, Tiling tiling, Listing* listing) {
  auto* memory = reinterpret_cast<int32_t*>(gpu::SharedMemory());
  const TileTable table = {memory, memory + tiling.experts + 1};
  LoadStarts(starts, places, tiling, table, static_cast<int>(threadIdx.x), 32);
  gpu::SyncBlock();
  CountTiles(tiling, table);
  gpu::SyncBlock();
  listing->count = TileCount(table, tiling);
  for (int i = static_cast<int>(threadIdx.x); i < listing->count; i += 32) {
    listing->tiles[i] = FindTile(table, tiling, i);
  }
}

auto AsTuple(const Tile& tile) {
  return std::make_tuple(tile.expert, tile.out_block, tile.first_place, tile.places);
}

std::vector<Tile> BruteForce(const std::vector<int32_t>& counts, const Tiling& tiling) {
  std::vector<Tile> tiles;
  int start = 0;
  for (int expert = 0; expert < tiling.experts; ++expert) {
    const int count = counts[static_cast<size_t>(expert)];
    for (int block = 0; block < tiling.out_blocks; ++block) {
      for (int first = 0; first < count; first += tiling.tile_places) {
        tiles.push_back(
            {expert, block, start + first, std::min(tiling.tile_places, count - first)});
      }
    }
    start += count;
  }
  return tiles;
}

void Check(const std::vector<int32_t>& counts, int out_blocks, int tile_places,
           bool with_starts = true) {
  const Tiling tiling = {static_cast<int>(counts.size()), out_blocks, tile_places};
  std::vector<int32_t> starts = {0};
  for (const int32_t count : counts) starts.push_back(starts.back() + count);
  const std::vector<Tile> expected = BruteForce(counts, tiling);
  const int32_t places = starts.back();
  EXPECT_LE(static_cast<int64_t>(expected.size()), MostTiles(places, tiling));

  std::vector<Tile> tiles(expected.size());
  Listing listing = {-1, tiles.data()};
  gpu::Launch(ListTiles, {dim3(1), 32, 2 * starts.size() * sizeof(int32_t)}, nullptr,
              with_starts ? starts.data() : nullptr, places, tiling, &listing);
  ASSERT_EQ(listing.count, static_cast<int32_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(AsTuple(tiles[i]), AsTuple(expected[i])) << i;
  }
}

TEST(TilesTest, EmptyExperts) {
  Check({0, 5, 0, 0, 17, 0}, 3, 8);
  Check({0, 0, 0}, 4, 16);
  Check({3, 0}, 1, 8);
}

TEST(TilesTest, OneExpertHasAll) {
  Check({100}, 2, 32);
  Check({100}, 2, 32, /*with_starts=*/false);
  std::vector<int32_t> counts(64);
  counts[63] = 513;
  Check(counts, 2, 128);
}

TEST(TilesTest, GroupsOfOne) {
  Check(std::vector<int32_t>(128, 1), 3, 256);
  EXPECT_EQ(MostTiles(128, {128, 3, 256}), 3 * 128);
}

TEST(TilesTest, AroundWarps) {
  for (const size_t experts : {31, 32, 33, 63, 64, 65}) {
    std::vector<int32_t> counts(experts);
    std::iota(counts.begin(), counts.end(), 0);
    Check(counts, 2, 16);
  }
}

TEST(TilesTest, ManyExperts) {
  std::mt19937 random(1);
  for (int tile_places = 8; tile_places <= 256; tile_places *= 2) {
    std::vector<int32_t> counts(kMaxTiledExperts);
    for (int32_t& count : counts) count = static_cast<int32_t>(random() % 3 * (random() % 200));
    Check(counts, 2, tile_places);
  }
}

TEST(TilesTest, MostTilesIsReached) {
  // The rest of the places goes where it fills tiles least.
  EXPECT_EQ(static_cast<int64_t>(BruteForce({1 + 24, 1 + 8, 1}, {3, 1, 8}).size()),
            MostTiles(3 + 32, {3, 1, 8}));
}

}  // namespace
}  // namespace tessera::cuda
