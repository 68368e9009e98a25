// cuda/kernels/product_hopper.h in the emulator against plain loops in double precision.
#include "cuda/kernels/product_hopper.h"

#include <gtest/gtest.h>

#include <vector>

#include "gpu/matrix_descriptor.h"
#include "tests/cuda/product_problem.h"

namespace tessera::cuda {
namespace {

class HopperProductTest : public ::testing::TestWithParam<ProductSetup> {};

TEST_P(HopperProductTest, MatchesLoops) {
  ProductProblem problem(GetParam());
  problem.Run(GetParam().tile);
  problem.CheckAgainstLoops();
}

constexpr DType kBf16 = DType::kBFloat16;
constexpr DType kF16 = DType::kFloat16;

INSTANTIATE_TEST_SUITE_P(
    Shapes, HopperProductTest,
    ::testing::Values(
        ProductSetup{.name = "Smallest", .counts = {1}, .out = 16},
        ProductSetup{.name = "DenseBias", .counts = {9}, .in = 136, .out = 72, .bias = true},
        ProductSetup{.name = "DenseFloat16",
                     .dtype = kF16,
                     .counts = {130},
                     .in = 80,
                     .out = 200,
                     .activation = Activation::kGeluErf},
        ProductSetup{.name = "Experts",
                     .counts = {0, 1, 7, 9, 130, 0},
                     .in = 136,
                     .out = 200,
                     .bias = true,
                     .gather = true},
        ProductSetup{.name = "GatedExperts",
                     .counts = {7, 0, 9, 1, 130},
                     .in = 80,
                     .out = 208,
                     .gated = true,
                     .activation = Activation::kSilu,
                     .gather = true},
        ProductSetup{.name = "GatedBiasFloat16",
                     .dtype = kF16,
                     .counts = {9, 1},
                     .in = 64,
                     .out = 144,
                     .gated = true,
                     .bias = true,
                     .activation = Activation::kQuickGelu,
                     .gather = true},
        ProductSetup{.name = "Deep",
                     .dtype = kF16,
                     .counts = {7, 9},
                     .in = 1032,
                     .out = 128,
                     .bias = true,
                     .activation = Activation::kGeluTanh},
        ProductSetup{.name = "DeepGated",
                     .counts = {1, 7},
                     .in = 1032,
                     .out = 32,
                     .gated = true,
                     .activation = Activation::kSilu},
        ProductSetup{.name = "Float32",
                     .counts = {1, 0, 9},
                     .in = 136,
                     .out = 136,
                     .bias = true,
                     .gather = true,
                     .wide = true},
        ProductSetup{.name = "Float32Gated",
                     .dtype = kF16,
                     .counts = {9, 7},
                     .in = 80,
                     .out = 96,
                     .gated = true,
                     .activation = Activation::kSilu,
                     .wide = true},
        ProductSetup{.name = "OddColumns", .counts = {9, 7}, .in = 64, .out = 37, .bias = true},
        ProductSetup{.name = "FewerColumns", .counts = {9}, .in = 64, .out = 96, .cols = 90},
        ProductSetup{.name = "FewerGatedColumns",
                     .counts = {9},
                     .in = 64,
                     .out = 96,
                     .gated = true,
                     .activation = Activation::kSilu,
                     .wide = true,
                     .cols = 43},
        ProductSetup{
            .name = "IdleBlocks", .counts = {9, 0, 0, 0}, .in = 64, .out = 16, .tile = {64, 32}},
        ProductSetup{.name = "NoPlaces", .counts = {0, 0}, .out = 16},
        ProductSetup{.name = "ManyExperts",
                     .counts = std::vector<int>(70, 1),
                     .in = 64,
                     .out = 16,
                     .gather = true},
        ProductSetup{.name = "Float8WeightsGated",
                     .counts = {7, 0, 9, 1, 130},
                     .in = 80,
                     .out = 208,
                     .gated = true,
                     .bias = true,
                     .activation = Activation::kSilu,
                     .gather = true,
                     .weights = WeightFormat::kFloat8},
        ProductSetup{.name = "Float8WeightsOddColumnsFloat16",
                     .dtype = kF16,
                     .counts = {9, 7},
                     .in = 8,
                     .out = 37,
                     .bias = true,
                     .weights = WeightFormat::kFloat8},
        ProductSetup{.name = "Int8WeightsDeep",
                     .counts = {7, 9},
                     .in = 1032,
                     .out = 200,
                     .bias = true,
                     .activation = Activation::kGeluTanh,
                     .weights = WeightFormat::kInt8},
        ProductSetup{.name = "Int8WeightsFloat32Result",
                     .dtype = kF16,
                     .counts = {1, 0, 33},
                     .in = 192,
                     .out = 100,
                     .gather = true,
                     .wide = true,
                     .weights = WeightFormat::kInt8},
        ProductSetup{.name = "Int4WeightsGated",
                     .counts = {7, 0, 9, 1, 130},
                     .in = 80,
                     .out = 208,
                     .gated = true,
                     .bias = true,
                     .activation = Activation::kSilu,
                     .gather = true,
                     .weights = WeightFormat::kInt4},
        ProductSetup{.name = "Int4WeightsDeepOddColumnsFloat16",
                     .dtype = kF16,
                     .counts = {9, 33},
                     .in = 1032,
                     .out = 137,
                     .bias = true,
                     .wide = true,
                     .weights = WeightFormat::kInt4},
        ProductSetup{.name = "W8A8Gated",
                     .counts = {7, 0, 9, 1, 130},
                     .in = 80,
                     .out = 208,
                     .gated = true,
                     .bias = true,
                     .activation = Activation::kSilu,
                     .gather = true,
                     .weights = WeightFormat::kFloat8W8A8},
        ProductSetup{.name = "W8A8OddColumnsFloat16",
                     .dtype = kF16,
                     .counts = {9, 7},
                     .in = 37,
                     .out = 37,
                     .bias = true,
                     .weights = WeightFormat::kFloat8W8A8},
        ProductSetup{.name = "W8A8DeepFloat32Result",
                     .counts = {7, 33},
                     .in = 1160,
                     .out = 137,
                     .gather = true,
                     .wide = true,
                     .weights = WeightFormat::kFloat8W8A8},
        ProductSetup{.name = "W8A8Dense",
                     .dtype = kF16,
                     .counts = {130},
                     .in = 512,
                     .out = 200,
                     .weights = WeightFormat::kFloat8W8A8}),
    [](const auto& info) { return info.param.name; });

// Whatever the tile and whoever is beside it, a place has the same bits.
void CheckEveryTile(const ProductSetup& setup) {
  ProductProblem problem(setup);
  const std::vector<uint16_t> expected = problem.Run({64, 8});
  problem.CheckAgainstLoops();
  for (const int rows : kTileRows) {
    for (const int places : kTilePlaces) {
      if (!IsHopperTile({rows, places}, setup.weights)) continue;
      EXPECT_EQ(problem.Run({rows, places}), expected) << rows << " rows, " << places << " places";
    }
  }
}

TEST(HopperProductTilesTest, SameBitsBFloat16) {
  CheckEveryTile(
      {.name = "", .counts = {7, 130}, .in = 136, .out = 144, .bias = true, .gather = true});
}

TEST(HopperProductTilesTest, SameBitsGatedFloat16) {
  CheckEveryTile({.name = "",
                  .dtype = kF16,
                  .counts = {40, 0, 9},
                  .in = 200,
                  .out = 80,
                  .gated = true,
                  .activation = Activation::kSilu,
                  .gather = true,
                  .wide = true});
}

TEST(HopperProductTilesTest, SameBitsFloat8Weights) {
  CheckEveryTile({.name = "",
                  .counts = {7, 130},
                  .in = 136,
                  .out = 140,
                  .bias = true,
                  .gather = true,
                  .weights = WeightFormat::kFloat8});
}

TEST(HopperProductTilesTest, SameBitsInt8WeightsGatedFloat16) {
  CheckEveryTile({.name = "",
                  .dtype = kF16,
                  .counts = {40, 0, 9},
                  .in = 200,
                  .out = 80,
                  .gated = true,
                  .activation = Activation::kSilu,
                  .gather = true,
                  .wide = true,
                  .weights = WeightFormat::kInt8});
}

TEST(HopperProductTilesTest, SameBitsInt4Weights) {
  CheckEveryTile({.name = "",
                  .counts = {7, 130},
                  .in = 200,
                  .out = 140,
                  .bias = true,
                  .gather = true,
                  .weights = WeightFormat::kInt4});
}

TEST(HopperProductTilesTest, SameBitsW8A8) {
  CheckEveryTile({.name = "",
                  .counts = {7, 130},
                  .in = 1096,
                  .out = 140,
                  .bias = true,
                  .gather = true,
                  .weights = WeightFormat::kFloat8W8A8});
}

// More steps than the deepest ring has stages, over several tiles of each block.
TEST(HopperProductTilesTest, RingRunsThrough) {
  CheckEveryTile({.name = "", .counts = {9, 300}, .in = 1160, .out = 16});
}

TEST(HopperProductTilesTest, RingRunsThroughInt8Weights) {
  CheckEveryTile(
      {.name = "", .counts = {9, 300}, .in = 1160, .out = 16, .weights = WeightFormat::kInt8});
}

TEST(HopperProductTilesTest, RingRunsThroughInt4Weights) {
  CheckEveryTile(
      {.name = "", .counts = {9, 300}, .in = 1160, .out = 16, .weights = WeightFormat::kInt4});
}

TEST(HopperProductTilesTest, RingRunsThroughW8A8) {
  CheckEveryTile({.name = "",
                  .counts = {9, 300},
                  .in = 2320,
                  .out = 16,
                  .weights = WeightFormat::kFloat8W8A8});
}

// Worked by hand from the PTX ISA: address 0x1400 / 16, leading offset 1, stride 1024 / 16,
// swizzle 1.
TEST(HopperProductTilesTest, MatrixDescriptor) {
  EXPECT_EQ(gpu::MatrixDescriptorBits(0x1400), 0x4000'0040'0001'0140u);
}

TEST(HopperProductTilesTest, ChosenTile) {
  Product product;
  product.out = 1536;
  product.experts = 128;
  product.places = 8;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{32, 8})) << "96 tiles of 128 are 3 / 4";
  product.out = 2048;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{128, 8})) << "128 tiles are enough";
  product.places = 1024;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{128, 16}));
  product.places = 128 * 512;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{128, 256}));
  product.out = 64;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{64, 256}));
}

TEST(HopperProductTilesTest, FewPlacesTakeNarrowTiles) {
  Product product;
  product.places = 1;
  for (const auto& [out, rows] :
       {std::pair{16384, 128}, {7680, 64}, {2560, 32}, {1024, 16}, {64, 16}}) {
    product.out = out;
    EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{rows, 8})) << out;
  }
  product.format = WeightFormat::kInt4;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{64, 8}));
  product.format = WeightFormat::kActivations;
  product.places = 2048;
  EXPECT_GE(ChooseHopperTile(product, 132).rows, 64) << "what is multiplied counts";
  product.places = 1;
  product.out = 1;
  EXPECT_EQ(ChooseHopperTile(product, 132), (HopperTile{64, 8})) << "one tile is one tile";
}

TEST(HopperProductTilesTest, Fits) {
  const ProductProblem problem({.name = "", .counts = {9}});
  Product product = problem.product();
  EXPECT_TRUE(HopperProductFits(product));
  product.x = Tensor(kBf16, {9, 63}, product.x.data);
  EXPECT_FALSE(HopperProductFits(product));
  product = problem.product();
  product.weights = static_cast<const char*>(product.weights) + 8;
  EXPECT_FALSE(HopperProductFits(product));
  product = problem.product();
  product.y.dtype = kF16;
  EXPECT_FALSE(HopperProductFits(product));
}

}  // namespace
}  // namespace tessera::cuda
