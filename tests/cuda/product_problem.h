// A product with random numbers for the kernels of cuda/kernels/product_hopper.h, and plain loops
// in double precision that judge its results.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda/kernels/activate.h"
#include "cuda/kernels/product_hopper.h"
#include "tests/testing/reference_ops.h"

namespace tessera::cuda {

constexpr int kMultiprocessors = 3;  // few, so that blocks take several tiles

struct ProductSetup {
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
  WeightFormat weights = WeightFormat::kActivations;
};

inline float Widen(DType dtype, uint16_t bits) {
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
class ProductProblem {
 public:
  explicit ProductProblem(const ProductSetup& setup)
      : setup_(setup),
        places_(std::accumulate(setup.counts.begin(), setup.counts.end(), int64_t{0})),
        experts_(static_cast<int64_t>(setup.counts.size())),
        tokens_(setup.gather ? places_ / 2 + 1 : places_),
        stride_((setup.in + 7) / 8 * 8 + 8),
        cols_(setup.cols > 0 ? setup.cols : setup.out / (setup.gated ? 2 : 1)),
        x_(tokens_ * setup.in),
        weights_(experts_ * setup.out * stride_),
        bytes_(experts_ * QuantizedBytes()),
        scales_(experts_ * setup.out),
        bias_(experts_ * setup.out),
        starts_(experts_ + 1),
        rows_(places_),
        x_bytes_(tokens_ * QuantizedStride()),
        row_scales_(tokens_),
        y_(kGuard * 2 + places_ * cols_ * (setup.wide ? 2 : 1)) {
    for (int64_t i = 0; i < x_.size(); ++i) x_[i] = RandomHalf(1.0f);
    for (int64_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = i % stride_ < setup.in ? RandomHalf(0.2f) : uint16_t{0};
    }
    for (int64_t i = 0; i < bias_.size(); ++i) bias_[i] = Random(1.0f);
    if (quantized()) Quantize();
    if (setup.weights == WeightFormat::kFloat8W8A8) QuantizeX();
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
    if (setup_.weights == WeightFormat::kFloat8W8A8) {
      product.x = Tensor(DType::kFloat8, {tokens_, QuantizedStride()}, x_bytes_.get());
      product.row_scales = row_scales_.get();
    }
    product.rows = setup_.gather ? rows_.get() : nullptr;
    product.starts = experts_ == 1 && !setup_.gather ? nullptr : starts_.get();
    product.places = places_;
    product.experts = experts_;
    product.weights = weights_.get();
    product.stride = stride_;
    if (quantized()) {
      product.weights = bytes_.get();
      product.stride = QuantizedStride();
      product.scales = setup_.weights == WeightFormat::kInt4 ? nullptr : scales_.get();
      product.format = setup_.weights;
    }
    product.out = setup_.out;
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
    HopperMaps maps;
    EXPECT_TRUE(MapHopperWeights(product.weights, product.format, experts_, product.out,
                                 product.stride, maps));
    if (tile.places == 0) {
      RunHopperProduct(product, maps, kMultiprocessors, nullptr);
    } else {
      RunHopperProduct(product, maps, tile, kMultiprocessors, nullptr);
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

  bool quantized() const { return setup_.weights != WeightFormat::kActivations; }
  int64_t QuantizedStride() const {
    const int64_t unit = setup_.weights == WeightFormat::kFloat8W8A8 ? 16 : 64;
    return (setup_.in + unit - 1) / unit * unit;
  }
  // Of an expert.
  int64_t QuantizedBytes() const {
    if (setup_.weights == WeightFormat::kInt4) {
      return (setup_.out + 63) / 64 * (QuantizedStride() / 64) * kFourBitBoxBytes;
    }
    if (setup_.weights == WeightFormat::kFloat8W8A8) return setup_.out * QuantizedStride();
    return (setup_.out + 15) / 16 * 16 * QuantizedStride();
  }

  // Fills bytes_ and scales_ from weights_, and kept_ with what they stand for.
  void Quantize() {
    std::memset(bytes_.get(), 0, static_cast<size_t>(bytes_.size()));
    for (int64_t e = 0; e < experts_; ++e) {
      PackedRows to;
      to.data = bytes_.get() + e * QuantizedBytes();
      to.dtype = setup_.dtype;
      to.stride = QuantizedStride();
      to.format = setup_.weights;
      to.scales = scales_.get() + e * setup_.out;
      QuantizeMatrix({weights_.get() + e * setup_.out * stride_, setup_.dtype, setup_.out,
                      setup_.in, stride_, 1},
                     to, nullptr);
    }
    std::vector<float> wide;
    for (int64_t i = 0; i < weights_.size(); ++i) {
      if (i % stride_ < setup_.in) wide.push_back(Widen(setup_.dtype, weights_[i]));
    }
    kept_ = tessera::testing::reference::Quantized(wide, setup_.in, setup_.weights);
  }

  // Fills x_bytes_ and row_scales_ from x_, and kept_x_ with what they stand for.
  void QuantizeX() {
    QuantizeRows(Tensor(setup_.dtype, {tokens_, setup_.in}, x_.get()),
                 Tensor(DType::kFloat8, {tokens_, QuantizedStride()}, x_bytes_.get()),
                 row_scales_.get(), nullptr);
    std::vector<float> wide;
    for (int64_t i = 0; i < x_.size(); ++i) wide.push_back(Widen(setup_.dtype, x_[i]));
    kept_x_ = tessera::testing::reference::Quantized(wide, setup_.in, WeightFormat::kFloat8);
  }

  double X(int64_t i) const {
    return kept_x_.empty() ? Widen(setup_.dtype, x_[i]) : kept_x_[static_cast<size_t>(i)];
  }

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
      const double weight = quantized() ? kept_[static_cast<size_t>(w * setup_.in + k)]
                                        : Widen(setup_.dtype, weights_[w * stride_ + k]);
      sum += X(token * setup_.in + k) * weight;
    }
    return sum;
  }
  double Expected(int64_t expert, int64_t place, int64_t col) const {
    const int64_t row = setup_.gated ? col / 8 * 16 + col % 8 : col;
    const double value = Activate(setup_.activation, static_cast<float>(Sum(expert, place, row)));
    return setup_.gated ? value * Sum(expert, place, row + 8) : value;
  }

  ProductSetup setup_;
  std::mt19937_64 random_{7};
  int64_t places_, experts_, tokens_, stride_, cols_;
  Array<uint16_t> x_, weights_;
  Array<uint8_t> bytes_;
  Array<float> scales_, bias_;
  tessera::testing::reference::Values kept_, kept_x_;
  Array<int32_t> starts_, rows_;
  Array<uint8_t> x_bytes_;
  Array<float> row_scales_;
  Array<uint16_t> y_;
};

}  // namespace tessera::cuda
