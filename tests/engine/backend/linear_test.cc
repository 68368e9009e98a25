// Dense layers on every device, against the reference and row by row for equal bits.
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/backend/half.h"
#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

class LinearTest : public BackendTest {
 protected:
  std::unique_ptr<PackedLinear> Pack(const std::vector<float>& weight,
                                     const std::vector<float>& bias, int64_t in, int64_t out) {
    LinearWeights source;
    source.weights = {Host(weight, {out, in})};
    if (!bias.empty()) source.biases = {Host(bias, {out})};
    auto packed = backend().PackLinear(source);
    EXPECT_TRUE(packed.ok()) << packed.status().ToString();
    return *std::move(packed);
  }
};

TEST_P(LinearTest, MatchesReference) {
  struct Case {
    int64_t rows, in, out;
    Activation activation;
  };
  const Case cases[] = {
      {1, 80, 599, Activation::kNone},         {2, 64, 64, Activation::kGeluErf},
      {7, 512, 33, Activation::kGeluTanh},     {70, 80, 599, Activation::kSilu},
      {33, 1500, 130, Activation::kQuickGelu}, {1, 2560, 96, Activation::kGeluErf},
      {5, 37, 1, Activation::kNone},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.in);
    const auto weight = Random(c.out * c.in, 1, 0.2f);
    const auto bias = RandomFloats(c.out, 2, 1.0f, DType::kFloat32);
    const auto x = Random(c.rows * c.in, 3);
    const auto packed = Pack(weight, bias, c.in, c.out);
    Tensor input = backend().UploadActivations(x, {c.rows, c.in});
    const auto multiplied = Rows(Widen(x), c.in);
    const auto expected =
        reference::Linear(multiplied, Kept(weight, c.in), Widen(bias), c.in, c.out, c.activation);
    EXPECT_TRUE(Near(backend().DownloadFloats(backend().Linear(input, *packed, c.activation)),
                     expected, tolerance()));
    const auto plain = reference::Linear(multiplied, Kept(weight, c.in), Widen(bias), c.in, c.out,
                                         Activation::kNone);
    EXPECT_TRUE(Near(backend().DownloadFloats(backend().LinearFloat32(input, *packed)), plain,
                     GetParam().sum_tolerance));
  }
}

// In every dtype that a checkpoint has, beside a piece that is not transposed.
TEST_P(LinearTest, TakesTransposedWeights) {
  const int64_t in = 70;
  const int64_t out = 37;
  const int64_t stride = 50;  // it is a part of a wider tensor
  const auto straight = Random(3 * in, 5);
  const auto weight = Random(out * in, 1);
  const auto x = Random(4 * in, 3);
  LinearWeights plain;
  plain.weights = {Host(weight, {out, in}), Host(straight, {3, in})};
  const Tensor input = backend().UploadActivations(x, {4, in});
  const auto expected =
      backend().DownloadFloats(backend().Linear(input, *backend().PackLinear(plain).value()));
  std::vector<float> floats(in * stride, 7.0f);
  std::vector<uint16_t> halves(in * stride, 0x4000);
  for (int64_t r = 0; r < out; ++r) {
    for (int64_t c = 0; c < in; ++c) {
      floats[c * stride + r] = weight[r * in + c];
      halves[c * stride + r] = FloatToBFloat16(weight[r * in + c]);
    }
  }
  const HostTensor views[] = {{DType::kFloat32, {out, in}, floats.data(), stride},
                              {DType::kBFloat16, {out, in}, halves.data(), stride}};
  for (const HostTensor& view : views) {
    if (view.dtype == DType::kBFloat16 && backend().activation_dtype() != DType::kBFloat16)
      continue;
    LinearWeights transposed;
    transposed.weights = {view, Host(straight, {3, in})};
    EXPECT_EQ(backend().DownloadFloats(
                  backend().Linear(input, *backend().PackLinear(transposed).value())),
              expected);
  }
}

TEST_P(LinearTest, StacksPieces) {
  const int64_t in = 72;
  const auto a = Random(5 * in, 1);
  const auto b = Random(9 * in, 2);
  const auto bias_a = Random(5, 3);
  const auto bias_b = Random(9, 4);
  LinearWeights source;
  source.weights = {Host(a, {5, in}), Host(b, {9, in})};
  source.biases = {Host(bias_a, {5}), Host(bias_b, {9})};
  const auto packed = backend().PackLinear(source);
  ASSERT_TRUE(packed.ok());
  EXPECT_EQ((*packed)->in, in);
  EXPECT_EQ((*packed)->out, 14);
  auto weight = Kept(a, in);
  const auto kept_b = Kept(b, in);
  weight.insert(weight.end(), kept_b.begin(), kept_b.end());
  auto bias = Widen(bias_a);
  bias.insert(bias.end(), bias_b.begin(), bias_b.end());
  const auto x = Random(3 * in, 5);
  Tensor y = backend().Linear(backend().UploadActivations(x, {3, in}), **packed);
  EXPECT_TRUE(Near(backend().DownloadFloats(y),
                   reference::Linear(Rows(Widen(x), in), weight, bias, in, 14, Activation::kNone),
                   tolerance()));
}

TEST_P(LinearTest, TakesSixteenBitWeights) {
  if (GetParam().weights == WeightFormat::kInt4) GTEST_SKIP() << "a scale has five bits";
  // 1, -2, 0.5, the largest and the smallest float16.
  const std::vector<uint16_t> halves = {0x3C00, 0xC000, 0x3800, 0x7BFF, 0x0001};
  const std::vector<uint16_t> brains = {0x3F80, 0xC000, 0x3F00, 0x4780, 0x3380};
  const std::vector<float> as_half = {1, -2, 0.5, 65504, 5.9604645e-8f};
  const std::vector<float> as_brain = {1, -2, 0.5, 65536, 5.9604645e-8f};
  for (const DType source_dtype : {DType::kFloat16, DType::kBFloat16}) {
    const bool half = source_dtype == DType::kFloat16;
    LinearWeights source;
    source.weights = {{source_dtype, {5, 1}, half ? halves.data() : brains.data()}};
    const auto packed = backend().PackLinear(source);
    ASSERT_TRUE(packed.ok());
    const std::vector<float> one = {1};
    const auto y = backend().DownloadFloats(
        backend().LinearFloat32(backend().UploadActivations(one, {1, 1}), **packed));
    for (int i = 0; i < 5; ++i) {
      const float expected = half ? as_half[i] : as_brain[i];
      if (dtype() == DType::kFloat16 && GetParam().weights == WeightFormat::kActivations &&
          expected > 65504) {  // beyond its range
        EXPECT_EQ(y[i], std::numeric_limits<float>::infinity());
        continue;
      }
      EXPECT_NEAR(y[i], expected, std::abs(expected) * (dtype() == DType::kFloat32 ? 0 : 4e-3));
    }
  }
}

TEST_P(LinearTest, RefusesPiecesThatDoNotFit) {
  const std::vector<float> values(64);
  LinearWeights uneven;
  uneven.weights = {Host(values, {2, 8}), Host(values, {2, 9})};
  EXPECT_EQ(backend().PackLinear(uneven).status().code(), absl::StatusCode::kInvalidArgument);
  LinearWeights bias;
  bias.weights = {Host(values, {2, 8})};
  bias.biases = {Host(values, {3})};
  EXPECT_EQ(backend().PackLinear(bias).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend().PackLinear({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(LinearTest, RowsOfZerosGiveTheBias) {
  const int64_t in = 80;
  auto weight = Random(35 * in, 1);
  std::fill(weight.begin() + 3 * in, weight.begin() + 20 * in, 0.0f);
  const auto bias = Random(35, 2);
  const auto packed = Pack(weight, bias, in, 35);
  const auto x = Random(2 * in, 3);
  const auto y = backend().DownloadFloats(
      backend().LinearFloat32(backend().UploadActivations(x, {2, in}), *packed));
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t r = 3; r < 20; ++r) EXPECT_EQ(y[t * 35 + r], bias[r]);
  }
}

TEST_P(LinearTest, QuantisedWeightsTakeFewBytes) {
  if (GetParam().weights == WeightFormat::kActivations) GTEST_SKIP() << "not quantised";
  const auto weight = Random(64 * 128, 1);
  const size_t bytes = Pack(weight, {}, 128, 64)->bytes;
  if (GetParam().weights == WeightFormat::kInt4) {
    EXPECT_EQ(bytes, 64 * 128 / 2 + 2 * 64 * 2);
  } else {
    EXPECT_EQ(bytes, 64 * 128 + 64 * sizeof(float));
  }
}

// What gives logits keeps more bits where the others keep the fewest.
TEST_P(LinearTest, LogitsGetMoreBits) {
  const WeightFormat weights = GetParam().weights;
  if (weights != WeightFormat::kInt4 && weights != WeightFormat::kFloat8W8A8) {
    GTEST_SKIP() << "as many bits as the others";
  }
  const auto more = weights == WeightFormat::kInt4 ? WeightFormat::kInt8 : WeightFormat::kFloat8;
  const auto weight = Random(64 * 128, 1);
  const auto x = Random(128, 3);
  LinearWeights source = {{Host(weight, {64, 128})}, {}};
  source.logits = true;
  const auto packed = *backend().PackLinear(source);
  EXPECT_TRUE(Near(backend().DownloadFloats(
                       backend().LinearFloat32(backend().UploadActivations(x, {1, 128}), *packed)),
                   reference::Linear(Widen(x), reference::Quantized(weight, 128, more), {}, 128, 64,
                                     Activation::kNone),
                   2e-6));
}

TEST_P(LinearTest, RowsOf8BitsThatAreNotFiniteShow) {
  if (GetParam().weights != WeightFormat::kFloat8W8A8) GTEST_SKIP() << "rows have more bits";
  auto x = Random(3 * 64, 1);
  x[7] = std::numeric_limits<float>::infinity();
  std::fill(x.begin() + 2 * 64, x.end(), 0.0f);
  const auto packed = Pack(Random(64, 3), {}, 64, 1);
  const auto y = backend().DownloadFloats(
      backend().LinearFloat32(backend().UploadActivations(x, {3, 64}), *packed));
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isfinite(y[1]));
  EXPECT_EQ(y[2], 0.0f);
}

// A scale of infinity, rather than numbers that look like weights.
TEST_P(LinearTest, RowsThatAreNotFiniteShow) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto weight = Random(2 * 64, 1);
    weight[7] = bad;
    const auto x = Random(64, 3);
    const auto packed = Pack(weight, {}, 64, 2);
    const auto y = backend().DownloadFloats(
        backend().LinearFloat32(backend().UploadActivations(x, {1, 64}), *packed));
    EXPECT_FALSE(std::isfinite(y[0]));
    EXPECT_TRUE(std::isfinite(y[1]));
  }
}

TEST_P(LinearTest, NoRows) {
  const auto weight = Random(8 * 16, 1);
  const auto packed = Pack(weight, {}, 16, 8);
  Tensor y = backend().Linear(backend().New(dtype(), {0, 16}), *packed);
  EXPECT_EQ(y.rows(), 0);
  EXPECT_EQ(y.cols(), 8);
}

// Row i alone, among 2, 7, 65, 600: the same bits.
TEST_P(LinearTest, RowsDoNotDependOnTheirNeighbours) {
  const int64_t out = 200;
  const int64_t most = emulated() ? 150 : 600;
  for (const int64_t in : {80, 512, 2560, 5632}) {
    if (emulated() && in > 512) continue;
    SCOPED_TRACE(in);
    const auto weight = Random(out * in, 1, 0.2f);
    const auto bias = Random(out, 2);
    const auto x = Random(most * in, 3);
    const auto packed = Pack(weight, bias, in, out);
    for (const bool wide : {false, true}) {
      const auto run = [&](int64_t begin, int64_t rows) {
        Tensor part = backend().UploadActivations(
            std::span<const float>(x).subspan(begin * in, rows * in), {rows, in});
        return backend().DownloadFloats(
            wide ? backend().LinearFloat32(part, *packed)
                 : backend().Linear(part, *packed, Activation::kGeluErf));
      };
      const std::vector<float> all = run(0, most);
      for (const int64_t rows : {1, 2, 3, 7, 8, 16, 31, 64, 65, 300}) {
        if (rows > most) continue;
        for (const int64_t begin : {int64_t{0}, std::min<int64_t>(129, most - rows), most - rows}) {
          const std::vector<float> part = run(begin, rows);
          EXPECT_EQ(std::memcmp(part.data(), &all[begin * out], part.size() * sizeof(float)), 0)
              << rows << " rows from " << begin;
        }
      }
      backend().ResetArena();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, LinearTest, ::testing::ValuesIn(ProductCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
