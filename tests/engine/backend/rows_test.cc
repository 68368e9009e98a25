// Row-wise operations and memory on every device.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

using RowsTest = BackendTest;

TEST_P(RowsTest, UploadsAndDownloads) {
  const auto x = Random(6 * 5, 1);
  EXPECT_EQ(backend().DownloadFloats(backend().UploadActivations(x, {6, 5})), x);
  const std::vector<int32_t> ids = {3, -1, 7};
  EXPECT_EQ(backend().DownloadInts(backend().Upload(ids, {3})), ids);
  Tensor copy = backend().New(dtype(), {6, 5});
  backend().Copy(backend().UploadActivations(x, {6, 5}), copy);
  EXPECT_EQ(backend().DownloadFloats(copy), x);
}

TEST_P(RowsTest, RoundsToNearestEven) {
  const std::vector<float> x = {1.00390625f, 1.01171875f, -1.0041f, 3.0e38f, 1e-40f};
  const auto y = backend().DownloadFloats(backend().UploadActivations(x, {1, 5}));
  if (dtype() == DType::kFloat32) {
    EXPECT_EQ(y, x);
  } else if (dtype() == DType::kBFloat16) {
    EXPECT_EQ(y[0], 1.0f);       // a tie: to even
    EXPECT_EQ(y[1], 1.015625f);  // a tie: to even
    EXPECT_EQ(y[2], -1.0078125f);
    EXPECT_NEAR(y[3], 3.0e38f, 1e36f);
    EXPECT_NEAR(y[4], 1e-40f, 1e-41f);
  }
}

TEST_P(RowsTest, RoundsToFloat16) {
  if (dtype() != DType::kFloat16) GTEST_SKIP() << "another dtype";
  // Two ties, the largest number, the first beyond it, the smallest subnormal, half of it.
  const std::vector<float> x = {1.00048828125f, 1.00146484375f, -65519, 65520, 0x1p-24f, 0x1p-25f};
  const std::vector<float> expected = {1, 1.001953125f, -65504, INFINITY, 0x1p-24f, 0};
  EXPECT_EQ(backend().DownloadFloats(backend().UploadActivations(x, {1, 6})), expected);
}

TEST_P(RowsTest, KeepsNotANumber) {
  const std::vector<float> x = {std::nanf("0x3fffff"), INFINITY, -INFINITY};
  const auto y = backend().DownloadFloats(backend().UploadActivations(x, {1, 3}));
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], INFINITY);
  EXPECT_EQ(y[2], -INFINITY);
}

TEST_P(RowsTest, AllocatesZeros) {
  auto buffer = backend().Allocate(dtype(), {3, 4});
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(backend().DownloadFloats((*buffer)->tensor()), std::vector<float>(12, 0.0f));
}

TEST_P(RowsTest, RefusesMoreThanThereIs) {
  EXPECT_EQ(backend().Allocate(DType::kFloat32, {int64_t{1} << 45}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(
      backend().Allocate(DType::kFloat32, {int64_t{1} << 40, int64_t{1} << 40}).status().code(),
      absl::StatusCode::kResourceExhausted);
}

// Tokens that only the device knows.
TEST_P(RowsTest, EmbedsDrawnTokens) {
  const std::vector<float> table = Random(5 * 24, 3);
  const Tensor kept = backend().UploadActivations(table, {5, 24});
  const std::vector<int32_t> sampled = {4, 0, 3};
  const std::vector<int32_t> ids = {2, -3, -1, 1, -2};
  const std::vector<int32_t> meant = {2, 3, 4, 1, 0};
  const Tensor y =
      backend().Embed(kept, backend().Upload(ids, {5}), backend().Upload(sampled, {3}));
  EXPECT_EQ(backend().DownloadFloats(y),
            backend().DownloadFloats(backend().Embed(kept, backend().Upload(meant, {5}))));
}

TEST_P(RowsTest, EmbedsGathersPutsAndAdds) {
  const int64_t cols = 37;
  const auto table = Random(10 * cols, 1);
  const std::vector<int32_t> ids = {9, 0, 9, 4};
  Tensor kept = Keep(table, {10, cols}, dtype());
  const auto row = [&](const std::vector<float>& values, int64_t i) {
    return std::vector<float>(values.begin() + i * cols, values.begin() + (i + 1) * cols);
  };
  const auto embedded = backend().DownloadFloats(backend().Embed(kept, backend().Upload(ids, {4})));
  const auto gathered =
      backend().DownloadFloats(backend().GatherRows(kept, backend().Upload(ids, {4})));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(row(embedded, i), row(table, ids[i]));
  EXPECT_EQ(gathered, embedded);

  const auto x = Random(5 * cols, 2);
  const auto source = Random(2 * cols, 3);
  const std::vector<int32_t> rows = {4, 1};
  Tensor put = backend().UploadActivations(x, {5, cols});
  Tensor added = backend().UploadActivations(x, {5, cols});
  Tensor from = backend().UploadActivations(source, {2, cols});
  backend().PutRows(put, from, backend().Upload(rows, {2}));
  backend().AddRows(added, from, backend().Upload(rows, {2}));
  const auto put_values = backend().DownloadFloats(put);
  auto sums = Widen(x);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(row(put_values, rows[i]), row(source, i));
    for (int64_t c = 0; c < cols; ++c) sums[rows[i] * cols + c] += source[i * cols + c];
  }
  for (int i : {0, 2, 3}) EXPECT_EQ(row(put_values, i), row(x, i));
  EXPECT_TRUE(Near(backend().DownloadFloats(added), sums, tolerance()));
}

TEST_P(RowsTest, Norms) {
  for (const int64_t cols : {1, 7, 80, 1024, 2561}) {
    for (const NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm}) {
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(cols);
        const int64_t rows = 19;
        auto x = Random(rows * cols, 1, 3.0f);
        for (int64_t c = 0; c < cols; ++c) x[c] = 0;  // a row of zeros
        const auto weight = RandomFloats(cols, 2, 1.0f, DType::kFloat32);
        const auto bias = RandomFloats(cols, 3, 1.0f, DType::kFloat32);
        NormWeights norm;
        norm.kind = kind;
        norm.epsilon = 1e-5f;
        norm.weight = Keep(weight, {cols}, DType::kFloat32);
        if (biased) norm.bias = Keep(bias, {cols}, DType::kFloat32);
        const auto expected = reference::Norm(
            Widen(x), Widen(weight), biased ? Widen(bias) : reference::Values(), kind, 1e-5f);
        Tensor y = backend().Norm(backend().UploadActivations(x, {rows, cols}), norm);
        EXPECT_TRUE(Near(backend().DownloadFloats(y), expected, tolerance()));
      }
    }
  }
}

TEST_P(RowsTest, AddsThenNorms) {
  const int64_t cols = 130;
  const int64_t rows = 21;
  const auto x = Random(rows * cols, 1);
  const auto weight = RandomFloats(cols, 2, 1.0f, DType::kFloat32);
  NormWeights norm;
  norm.kind = NormKind::kRmsNorm;
  norm.weight = Keep(weight, {cols}, DType::kFloat32);
  for (int count = 0; count <= 2; ++count) {
    auto sums = Widen(x);
    std::vector<ResidualBranch> branches;
    for (int i = 0; i < count; ++i) {
      const auto branch = Random(rows * cols, 10 + i);
      for (size_t j = 0; j < sums.size(); ++j) sums[j] += branch[j];
      branches.push_back(backend().UploadActivations(branch, {rows, cols}));
    }
    Tensor target = backend().UploadActivations(x, {rows, cols});
    Tensor y = backend().AddNorm(target, branches, norm);
    EXPECT_TRUE(Near(backend().DownloadFloats(target), sums, tolerance()));
    const auto rounded = Widen(backend().DownloadFloats(target));
    EXPECT_TRUE(Near(backend().DownloadFloats(y),
                     reference::Norm(rounded, Widen(weight), {}, norm.kind, norm.epsilon),
                     tolerance()));
    if (count != 1) continue;
    Tensor added = backend().UploadActivations(x, {rows, cols});
    backend().Add(added, branches[0].rows);
    EXPECT_EQ(backend().DownloadFloats(added), backend().DownloadFloats(target));
  }
}

TEST_P(RowsTest, ScalesRowsAndWhatIsAdded) {
  const int64_t cols = 37;
  const auto x = Random(11 * cols, 1);
  const auto branch = Random(11 * cols, 2);
  const auto factors = RandomFloats(11, 3, 12.0f, DType::kFloat32);
  auto scaled = Widen(x);
  auto sums = Widen(x);
  for (size_t i = 0; i < scaled.size(); ++i) {
    scaled[i] *= factors[i / cols];
    sums[i] += 0.25f * branch[i];
  }
  Tensor y = backend().UploadActivations(x, {11, cols});
  backend().ScaleRows(y, backend().Upload(factors, {11}));
  EXPECT_TRUE(Near(backend().DownloadFloats(y), scaled, tolerance()));

  NormWeights norm;
  norm.kind = NormKind::kRmsNorm;
  norm.weight = Keep(std::vector<float>(cols, 1.0f), {cols}, DType::kFloat32);
  Tensor target = backend().UploadActivations(x, {11, cols});
  const ResidualBranch branches[] = {backend().UploadActivations(branch, {11, cols})};
  backend().AddNorm(target, branches, norm, 0.25f);
  EXPECT_TRUE(Near(backend().DownloadFloats(target), sums, tolerance()));
}

TEST_P(RowsTest, ActivatesGates) {
  for (const Activation activation :
       {Activation::kNone, Activation::kGeluErf, Activation::kGeluTanh, Activation::kQuickGelu,
        Activation::kSilu}) {
    for (const int64_t ffn : {1, 40, 333}) {
      SCOPED_TRACE(static_cast<int>(activation));
      const auto x = Random(17 * 2 * ffn, 1, 6.0f);
      Tensor y = backend().GatedActivate(backend().UploadActivations(x, {17, 2 * ffn}), activation);
      EXPECT_TRUE(Near(backend().DownloadFloats(y),
                       reference::GatedActivate(Widen(x), ffn, activation), tolerance()));
    }
  }
}

TEST_P(RowsTest, ActivationsBearExtremes) {
  const std::vector<float> x = {-1e4f, -100, -30, 0, 30, 100, 1e4f, 1, 1, 1, 1, 1, 1, 1};
  for (const Activation activation :
       {Activation::kGeluErf, Activation::kGeluTanh, Activation::kQuickGelu, Activation::kSilu}) {
    const auto y = backend().DownloadFloats(
        backend().GatedActivate(backend().UploadActivations(x, {1, 14}), activation));
    for (int i = 0; i < 7; ++i) {
      EXPECT_NEAR(y[i], reference::Activate(activation, x[i]), std::abs(x[i]) * 4e-3 + 1e-6);
    }
  }
}

TEST_P(RowsTest, FindsTheLargestOfEachRow) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t cols = 1300;  // the last 100 are not looked at
  std::vector<float> x = RandomFloats(6 * cols, 3, 1.0f, DType::kFloat32);
  for (int64_t row = 0; row < 6; ++row) x[row * cols + 1250] = 9;
  x[0 * cols + 1199] = 2;
  x[1 * cols + 7] = x[1 * cols + 700] = 3;        // the first of equals
  x[2 * cols + 5] = kNan, x[2 * cols + 600] = 5;  // NaN is larger
  for (int64_t i = 0; i < 1200; ++i) x[3 * cols + i] = kNone;
  for (int64_t i = 0; i < 1200; ++i) x[4 * cols + i] = -7;
  x[5 * cols] = std::numeric_limits<float>::infinity();
  const Largest largest = backend().ArgMax(backend().Upload(x, {6, cols}), 1200);
  EXPECT_EQ(backend().DownloadInts(largest.places), (std::vector<int32_t>{1199, 7, 5, 0, 0, 0}));
  const auto values = backend().DownloadFloats(largest.values);
  EXPECT_EQ(values[0], 2);
  EXPECT_EQ(values[1], 3);
  EXPECT_TRUE(std::isnan(values[2]));
  EXPECT_EQ(values[3], kNone);
  EXPECT_EQ(values[4], -7);
}

TEST_P(RowsTest, DownloadsSeveralAtOnce) {
  std::vector<Tensor> tensors;
  for (int32_t n : {3, 0, 5000}) {
    tensors.push_back(backend().Upload(std::vector<int32_t>(n, n), {n}));
  }
  const auto values = backend().DownloadInts(tensors);
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(values[0], std::vector<int32_t>(3, 3));
  EXPECT_TRUE(values[1].empty());
  EXPECT_EQ(values[2], std::vector<int32_t>(5000, 5000));
}

INSTANTIATE_TEST_SUITE_P(Devices, RowsTest, ::testing::ValuesIn(BackendCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
