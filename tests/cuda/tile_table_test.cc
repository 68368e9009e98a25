// cuda/tile_table.h and cuda/tile_file.h: looking up, and files that are whole, broken and hostile.
#include "cuda/tile_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "cuda/shipped_tiles.h"
#include "cuda/tile_file.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr char kWhole[] = R"({"format": 1, "kernels": 1, "gpu": "G", "multiprocessors": 132,
  "products": [{"experts": 128, "in": 2048, "out": 1536, "weights": "fp8", "gated": true,
                "gathered": true, "tiles": [[64, 8], [128, 16]]}]})";

std::string Replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

class Directory {
 public:
  Directory() : path_(fs::path(::testing::TempDir()) / ("tiles-" + std::to_string(getpid()))) {
    fs::remove_all(path_);
  }
  ~Directory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(TileTableTest, Buckets) {
  EXPECT_EQ(PlaceBucket(1), 0);
  EXPECT_EQ(PlaceBucket(2), 1);
  EXPECT_EQ(PlaceBucket(3), 2);
  EXPECT_EQ(PlaceBucket(4), 2);
  EXPECT_EQ(PlaceBucket(5), 3);
  EXPECT_EQ(PlaceBucket(int64_t{1} << 40), kPlaceBuckets - 1);
  for (int64_t places = 1; places <= MostPlaces(kPlaceBuckets - 1); ++places) {
    const int bucket = PlaceBucket(places);
    ASSERT_LE(places, MostPlaces(bucket));
    ASSERT_TRUE(bucket == 0 || places > MostPlaces(bucket - 1)) << places;
  }
}

TEST(TileTableTest, FindsTheBucketsTileAndTheLastBeyond) {
  const ProductShape shape = {.in = 64, .out = 128};
  TileTable table;
  table.Set(shape, {{64, 8}, {128, 8}, {64, 16}});
  EXPECT_EQ(*table.Find(shape, 1), (cuda::HopperTile{64, 8}));
  EXPECT_EQ(*table.Find(shape, 2), (cuda::HopperTile{128, 8}));
  EXPECT_EQ(*table.Find(shape, 4), (cuda::HopperTile{64, 16}));
  EXPECT_EQ(*table.Find(shape, 1 << 20), (cuda::HopperTile{64, 16}));
}

TEST(TileTableTest, EveryPartOfAShapeCounts) {
  const ProductShape shape = {4, 64, 128, WeightFormat::kActivations, false, false};
  TileTable table;
  table.Set(shape, {{64, 8}});
  ProductShape others[6];
  std::fill(std::begin(others), std::end(others), shape);
  others[0].experts = 5;
  others[1].in = 72;
  others[2].out = 136;
  others[3].format = WeightFormat::kInt8;
  others[4].gated = true;
  others[5].gathered = true;
  for (const ProductShape& other : others) EXPECT_EQ(table.Find(other, 1), nullptr);
  EXPECT_NE(table.Find(shape, 1), nullptr);
}

TEST(TileFileTest, ReadsAWholeOne) {
  const auto file = ParseTiles(kWhole);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->device, (TileDevice{"G", 132, 1}));
  const ProductShape shape = {128, 2048, 1536, WeightFormat::kFloat8, true, true};
  ASSERT_TRUE(file->table.Has(shape));
  EXPECT_EQ(*file->table.Find(shape, 99), (cuda::HopperTile{128, 16}));
}

TEST(TileFileTest, RefusesWhatIsWrong) {
  const std::pair<const char*, const char*> faults[] = {
      {"\"format\": 1", "\"format\": 2"},
      {"\"format\": 1", "\"format\": \"1\""},
      {"\"kernels\": 1", "\"kernels\": 0"},
      {"\"kernels\": 1", "\"kernels\": 18446744073709551615"},
      {"\"gpu\": \"G\"", "\"gpu\": 7"},
      {"132", "1e9"},
      {"\"experts\": 128", "\"experts\": 0"},
      {"\"experts\": 128", "\"experts\": 9223372036854775807"},
      {"\"in\": 2048", "\"in\": -8"},
      {"\"out\": 1536, ", ""},
      {"fp8", "fp4"},
      {"\"gated\": true", "\"gated\": 1"},
      {"[[64, 8], [128, 16]]", "[]"},
      {"[[64, 8], [128, 16]]", "[[64, 8, 2]]"},
      {"[[64, 8], [128, 16]]", "[64, 8]"},
      {"[[64, 8], [128, 16]]", "{}"},
      {"[64, 8]", "[96, 8]"},
      {"[64, 8]", "[32, 64]"},
      {"[64, 8]", "[0, 8]"},
      {"[64, 8]", "[1, 8]"},
      {"[64, 8]", "[64, 24]"},
      {"[64, 8]", "[64, 512]"},
      {"[64, 8]", "[64, 4294967304]"},
      {"[64, 8]", "[64, 18446744073709551615]"},
      {"[64, 8]", "[64.0, 8]"},
  };
  for (const auto& [what, by] : faults) {
    EXPECT_FALSE(ParseTiles(Replaced(kWhole, what, by)).ok()) << what << " as " << by;
  }
  std::string many = "[128, 16]";
  for (int i = 0; i < kPlaceBuckets; ++i) many += ", [128, 16]";
  EXPECT_FALSE(ParseTiles(Replaced(kWhole, "[128, 16]", many)).ok())
      << "more than there are buckets";
  for (const std::string text : {"", "null", "[]", "7", "{}", "{\"format\": 1}", "\xff\xfe"}) {
    EXPECT_FALSE(ParseTiles(text).ok()) << text;
  }
  EXPECT_FALSE(ParseTiles(std::string(100'000, '[')).ok());
  EXPECT_FALSE(ParseTiles(std::string(2 << 20, ' ') + kWhole).ok()) << "larger than a table is";
}

TEST(TileFileTest, FourBitWeightsHaveNoNarrowTiles) {
  const std::string narrow = Replaced(kWhole, "[64, 8]", "[16, 8]");
  EXPECT_TRUE(ParseTiles(narrow).ok());
  EXPECT_FALSE(ParseTiles(Replaced(narrow, "fp8", "int4")).ok());
}

TEST(TileFileTest, RefusesEveryTruncation) {
  const std::string whole = FormatTiles(*ParseTiles(kWhole));
  const size_t end = whole.rfind('}');
  for (size_t size = 0; size <= end; ++size) {
    EXPECT_FALSE(ParseTiles(whole.substr(0, size)).ok()) << size;
  }
}

cuda::HopperTile RandomTile(std::mt19937& random, WeightFormat format) {
  cuda::HopperTile tile;
  do {
    tile = {cuda::kTileRows.at(random() % cuda::kTileRows.size()),
            cuda::kTilePlaces.at(random() % cuda::kTilePlaces.size())};
  } while (!cuda::IsHopperTile(tile, format));
  return tile;
}

TileFile RandomFile(std::mt19937& random) {
  TileFile file = {
      {"GPU \"" + std::to_string(random()) + "\"", static_cast<int>(1 + random() % 999)}, {}};
  for (size_t left = random() % 20; left > 0; --left) {
    const auto format = static_cast<WeightFormat>(random() % 5);
    TileTable::Tiles tiles;
    for (size_t i = random() % kPlaceBuckets + 1; i > 0; --i) {
      tiles.push_back(RandomTile(random, format));
    }
    file.table.Set(
        {static_cast<int64_t>(1 + random() % 3), static_cast<int64_t>(1 + random() % 4),
         static_cast<int64_t>(1 + random() % 9999), format, random() % 2 == 0, random() % 2 == 0},
        std::move(tiles));
  }
  return file;
}

TEST(TileFileTest, WhatIsWrittenIsRead) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const TileFile file = RandomFile(random);
    const auto read = ParseTiles(FormatTiles(file));
    ASSERT_TRUE(read.ok()) << read.status() << FormatTiles(file);
    EXPECT_EQ(read->device, file.device);
    EXPECT_EQ(read->table, file.table);
  }
}

// Whatever a byte becomes, tiles that are read are such that kernels have.
TEST(TileFileTest, ChangedBytesNeverGiveATileWithoutAKernel) {
  std::mt19937 random(2);
  int read = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string text = FormatTiles(RandomFile(random));
    for (size_t changes = random() % 3 + 1; changes > 0; --changes) {
      text[random() % text.size()] =
          random() % 2 == 0 ? static_cast<char>(random()) : "0123456789[]{},\"-"[random() % 17];
    }
    const auto file = ParseTiles(text);
    if (!file.ok()) continue;
    ++read;
    for (const auto& [shape, tiles] : file->table.shapes()) {
      ASSERT_FALSE(tiles.empty());
      ASSERT_LE(tiles.size(), kPlaceBuckets);
      for (const cuda::HopperTile& tile : tiles) {
        ASSERT_TRUE(cuda::IsHopperTile(tile, shape.format)) << text;
      }
    }
  }
  EXPECT_GT(read, 50);
}

TEST(TileFileTest, FilesAreReplacedAsAWhole) {
  const Directory directory;
  const fs::path path = directory.path() / "deeper" / TileFileName("NVIDIA H200");
  EXPECT_EQ(path.filename(), "tiles-nvidia_h200.json");
  EXPECT_TRUE(absl::IsNotFound(ReadTiles(path).status()));
  std::mt19937 random(3);
  for (int i = 0; i < 2; ++i) {
    const TileFile file = RandomFile(random);
    const absl::Status status = WriteTiles(path, file);
    ASSERT_TRUE(status.ok()) << status;
    const auto read = ReadTiles(path);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->table, file.table);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1);
}

TEST(TileFileTest, FilesThatAreNoneAreErrors) {
  const Directory directory;
  fs::create_directories(directory.path() / "a");
  EXPECT_EQ(ReadTiles(directory.path() / "a").status().code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(directory.path() / "b") << "{";
  const absl::Status status = ReadTiles(directory.path() / "b").status();
  EXPECT_NE(std::string(StatusMessage(status)).find("/b: not JSON"), std::string::npos) << status;
  EXPECT_FALSE(WriteTiles(directory.path() / "b" / "c", {}).ok());
}

TEST(TileFileTest, ShippedTablesAreWhole) {
  for (const std::string_view text : ShippedTiles()) {
    const auto file = ParseTiles(text);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_FALSE(file->table.shapes().empty());
  }
}

}  // namespace
}  // namespace tessera
