// cuda/kernels/product_hopper.cu in the emulator against plain loops in double precision.
#include "cuda/kernels/product_hopper.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda/kernels/activate.h"
#include "gpu/matrix_descriptor.h"

namespace tessera::cuda {
namespace {

constexpr int kMultiprocessors = 3;  // few, so that blocks take several tiles
constexpr int kPlaceTiles[] = {8, 16, 32, 64, 128, 256};

struct Setup {
  std::string name;
  DType dtype = DType::kBFloat16;
  std::vector<int> counts = {9};  // places of each expert
  int in = 64;
  int out = 64;
  bool gated = false;
  bool bias = false;
  Activation activation = Activation::kNone;
  bool gather = false;
  bool wide = false;  // y is float32
  int cols = 0;       // of y; 0: all there are
  HopperTile tile = {0, 0};
};

float Widen(DType dtype, uint16_t bits) {
  return dtype == DType::kBFloat16 ? BFloat16ToFloat(bits) : Float16ToFloat(bits);
}

// Memory of the emulated device: what is not written holds NaNs.
template <typename T>
class Array {
 public:
  explicit Array(int64_t count)
      : count_(count),
        data_(static_cast<T*>(gpu::Allocate(static_cast<size_t>(count) * sizeof(T)))) {}
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { gpu::Free(data_); }
  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return count_; }

 private:
  int64_t count_;
  T* data_;
};

// A product with random numbers, and memory around y that must stay as it is.
class Problem {
 public:
  explicit Problem(const Setup& setup)
      : setup_(setup),
        places_(std::accumulate(setup.counts.begin(), setup.counts.end(), int64_t{0})),
        experts_(static_cast<int64_t>(setup.counts.size())),
        tokens_(setup.gather ? places_ / 2 + 1 : places_),
        stride_((setup.in + 7) / 8 * 8 + 8),
        cols_(setup.cols > 0 ? setup.cols : setup.out / (setup.gated ? 2 : 1)),
        x_(tokens_ * setup.in),
        weights_(experts_ * setup.out * stride_),
        bias_(experts_ * setup.out),
        starts_(experts_ + 1),
        rows_(places_),
        y_(kGuard * 2 + places_ * cols_ * (setup.wide ? 2 : 1)) {
    for (int64_t i = 0; i < x_.size(); ++i) x_[i] = RandomHalf(1.0f);
    for (int64_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = i % stride_ < setup.in ? RandomHalf(0.2f) : uint16_t{0};
    }
    for (int64_t i = 0; i < bias_.size(); ++i) bias_[i] = Random(1.0f);
    starts_[0] = 0;
    for (int64_t e = 0; e < experts_; ++e) {
      starts_[e + 1] = starts_[e] + setup.counts[static_cast<size_t>(e)];
    }
    for (int64_t p = 0; p < places_; ++p) {
      rows_[p] = static_cast<int32_t>(random_() % static_cast<uint64_t>(tokens_));
    }
  }

  Product product() const {
    Product product;
    product.x = Tensor(setup_.dtype, {tokens_, setup_.in}, x_.get());
    product.rows = setup_.gather ? rows_.get() : nullptr;
    product.starts = experts_ == 1 && !setup_.gather ? nullptr : starts_.get();
    product.places = places_;
    product.experts = experts_;
    product.weights = weights_.get();
    product.out = setup_.out;
    product.stride = stride_;
    product.bias = setup_.bias ? bias_.get() : nullptr;
    product.activation = setup_.activation;
    product.gated = setup_.gated;
    product.y =
        Tensor(setup_.wide ? DType::kFloat32 : setup_.dtype, {places_, cols_}, y_.get() + kGuard);
    return product;
  }

  // The bits of y, and around it.
  std::vector<uint16_t> Run(const HopperTile& tile) {
    std::memset(y_.get(), 0xff, static_cast<size_t>(y_.size()) * 2);
    const Product product = this->product();
    EXPECT_TRUE(HopperProductFits(product));
    gpu::TensorMap map;
    EXPECT_TRUE(MapHopperWeights(product.weights, experts_, product.out, stride_, map));
    if (tile.places == 0) {
      RunHopperProduct(product, map, kMultiprocessors, nullptr);
    } else {
      RunHopperProduct(product, map, tile, kMultiprocessors, nullptr);
    }
    return {y_.get(), y_.get() + y_.size()};
  }

  void CheckAgainstLoops() {
    for (int64_t i = 0; i < kGuard; ++i) {
      ASSERT_EQ(y_[i], 0xffff) << "before y";
      ASSERT_EQ(y_[y_.size() - 1 - i], 0xffff) << "after y";
    }
    // Half a unit in the last place of y, and some for float32 sums.
    const double unit = setup_.wide ? 0x1p-20 : setup_.dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11;
    for (int64_t e = 0; e < experts_; ++e) {
      for (int64_t p = starts_[e]; p < starts_[e + 1]; ++p) {
        for (int64_t c = 0; c < cols_; ++c) {
          const double expected = Expected(e, p, c);
          ASSERT_NEAR(Value(p * cols_ + c), expected, unit * std::abs(expected) + 2e-5)
              << "expert " << e << ", place " << p << ", column " << c;
        }
      }
    }
  }

 private:
  static constexpr int64_t kGuard = 256;  // elements of 16 bits, keeps y aligned

  float Random(float scale) {
    return scale * (static_cast<float>(random_() % 2001) / 1000.0f - 1.0f);
  }
  uint16_t RandomHalf(float scale) {
    const float value = Random(scale);
    return setup_.dtype == DType::kBFloat16 ? FloatToBFloat16(value) : gpu::FloatToFloat16(value);
  }
  double Value(int64_t i) const {
    if (!setup_.wide) return Widen(setup_.dtype, y_[kGuard + i]);
    float value;
    std::memcpy(&value, y_.get() + kGuard + 2 * i, sizeof(value));
    return value;
  }
  double Sum(int64_t expert, int64_t place, int64_t row) const {
    const int64_t token = setup_.gather ? rows_[place] : place;
    const int64_t w = expert * setup_.out + row;
    double sum = setup_.bias ? bias_[w] : 0;
    for (int64_t k = 0; k < setup_.in; ++k) {
      sum += static_cast<double>(Widen(setup_.dtype, x_[token * setup_.in + k])) *
             static_cast<double>(Widen(setup_.dtype, weights_[w * stride_ + k]));
    }
    return sum;
  }
  double Expected(int64_t expert, int64_t place, int64_t col) const {
    const int64_t row = setup_.gated ? col / 8 * 16 + col % 8 : col;
    const double value = Activate(setup_.activation, static_cast<float>(Sum(expert, place, row)));
    return setup_.gated ? value * Sum(expert, place, row + 8) : value;
  }

  Setup setup_;
  std::mt19937_64 random_{7};
  int64_t places_, experts_, tokens_, stride_, cols_;
  Array<uint16_t> x_, weights_;
  Array<float> bias_;
  Array<int32_t> starts_, rows_;
  Array<uint16_t> y_;
};

class HopperProductTest : public testing::TestWithParam<Setup> {};

TEST_P(HopperProductTest, MatchesLoops) {
  Problem problem(GetParam());
  problem.Run(GetParam().tile);
  problem.CheckAgainstLoops();
}

constexpr DType kBf16 = DType::kBFloat16;
constexpr DType kF16 = DType::kFloat16;

INSTANTIATE_TEST_SUITE_P(
    Shapes, HopperProductTest,
    testing::Values(
        Setup{.name = "Smallest", .counts = {1}, .out = 16},
        Setup{.name = "DenseBias", .counts = {9}, .in = 136, .out = 72, .bias = true},
        Setup{.name = "DenseFloat16",
              .dtype = kF16,
              .counts = {130},
              .in = 80,
              .out = 200,
              .activation = Activation::kGeluErf},
        Setup{.name = "Experts",
              .counts = {0, 1, 7, 9, 130, 0},
              .in = 136,
              .out = 200,
              .bias = true,
              .gather = true},
        Setup{.name = "GatedExperts",
              .counts = {7, 0, 9, 1, 130},
              .in = 80,
              .out = 208,
              .gated = true,
              .activation = Activation::kSilu,
              .gather = true},
        Setup{.name = "GatedBiasFloat16",
              .dtype = kF16,
              .counts = {9, 1},
              .in = 64,
              .out = 144,
              .gated = true,
              .bias = true,
              .activation = Activation::kQuickGelu,
              .gather = true},
        Setup{.name = "Deep",
              .dtype = kF16,
              .counts = {7, 9},
              .in = 1032,
              .out = 128,
              .bias = true,
              .activation = Activation::kGeluTanh},
        Setup{.name = "DeepGated",
              .counts = {1, 7},
              .in = 1032,
              .out = 32,
              .gated = true,
              .activation = Activation::kSilu},
        Setup{.name = "Float32",
              .counts = {1, 0, 9},
              .in = 136,
              .out = 136,
              .bias = true,
              .gather = true,
              .wide = true},
        Setup{.name = "Float32Gated",
              .dtype = kF16,
              .counts = {9, 7},
              .in = 80,
              .out = 96,
              .gated = true,
              .activation = Activation::kSilu,
              .wide = true},
        Setup{.name = "OddColumns", .counts = {9, 7}, .in = 64, .out = 37, .bias = true},
        Setup{.name = "FewerColumns", .counts = {9}, .in = 64, .out = 96, .cols = 90},
        Setup{.name = "FewerGatedColumns",
              .counts = {9},
              .in = 64,
              .out = 96,
              .gated = true,
              .activation = Activation::kSilu,
              .wide = true,
              .cols = 43},
        Setup{.name = "IdleBlocks", .counts = {9, 0, 0, 0}, .in = 64, .out = 16, .tile = {1, 32}},
        Setup{.name = "NoPlaces", .counts = {0, 0}, .out = 16},
        Setup{.name = "ManyExperts",
              .counts = std::vector<int>(70, 1),
              .in = 64,
              .out = 16,
              .gather = true}),
    [](const auto& info) { return info.param.name; });

// Whatever the tile and whoever is beside it, a place has the same bits.
void CheckEveryTile(const Setup& setup) {
  Problem problem(setup);
  const std::vector<uint16_t> expected = problem.Run({1, 8});
  problem.CheckAgainstLoops();
  for (const int consumers : {1, 2}) {
    for (const int places : kPlaceTiles) {
      EXPECT_EQ(problem.Run({consumers, places}), expected)
          << consumers << " consumers, " << places << " places";
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

// More steps than the deepest ring has stages, over several tiles of each block.
TEST(HopperProductTilesTest, RingRunsThrough) {
  CheckEveryTile({.name = "", .counts = {9, 300}, .in = 1160, .out = 16});
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
  EXPECT_EQ(ChooseHopperTile(product, 132).places, 8);
  product.places = 1024;
  EXPECT_EQ(ChooseHopperTile(product, 132).places, 16);
  product.places = 128 * 512;
  EXPECT_EQ(ChooseHopperTile(product, 132).places, 256);
  EXPECT_EQ(ChooseHopperTile(product, 132).consumers, 2);
  product.out = 64;
  EXPECT_EQ(ChooseHopperTile(product, 132).consumers, 1);
}

TEST(HopperProductTilesTest, Fits) {
  const Problem problem({.name = "", .counts = {9}});
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
