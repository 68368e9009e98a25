// Attention of ragged spans over themselves on every device, and turning heads without a cache.
#include "tests/engine/backend/attention_setup.h"

namespace tessera::testing {
namespace {

class FullAttentionTest : public AttentionTest {};

TEST_P(FullAttentionTest, TurnsWithoutWriting) {
  const AttentionShape shape = {2, 2, 8};
  const int64_t width = 6 * 8;
  const auto cosine = RandomFloats(5 * 4, 5, 1.0f, DType::kFloat32);
  const auto sine = RandomFloats(5 * 4, 6, 1.0f, DType::kFloat32);
  const std::vector<int32_t> axes = {0, 0, 1, 1};
  const std::vector<int32_t> positions = {0, 4, 2, 3, 1, 1};  // two axes of three rows
  Rope rope;
  rope.cosine = Keep(cosine, {5, 4}, DType::kFloat32);
  rope.sine = Keep(sine, {5, 4}, DType::kFloat32);
  rope.pair_axis = backend().Upload(axes, {4});
  const auto qkv = Random(3 * width, 1);
  const Tensor rows = backend().UploadActivations(qkv, {3, width});
  backend().ApplyRope(rows, shape, rope, backend().Upload(positions, {2, 3}));
  auto expected = Widen(qkv);
  for (int64_t t = 0; t < 3; ++t) {
    reference::Values c, s;
    for (int64_t i = 0; i < 4; ++i) {
      c.push_back(cosine[positions[axes[i] * 3 + t] * 4 + i]);
      s.push_back(sine[positions[axes[i] * 3 + t] * 4 + i]);
    }
    for (int64_t h = 0; h < 4; ++h) {
      reference::Rotate(&expected[t * width + h * 8], 4, c.data(), s.data());
    }
  }
  EXPECT_TRUE(Near(backend().DownloadFloats(rows), expected, tolerance()));
}

TEST_P(FullAttentionTest, PartsOfSpansHaveTheBitsOfTheWhole) {
  const AttentionShape shape = {3, 3, 40, 0.125f};
  const std::vector<int32_t> bounds = {0, 70, 71, 130};
  const auto qkv = Random(130 * 9 * 40, 7, 3.0f);
  const Tensor rows = backend().UploadActivations(qkv, {130, 9 * 40});
  const Tensor starts = backend().Upload(bounds, {4});
  const auto whole = backend().DownloadFloats(backend().FullAttention(rows, shape, starts, 70));
  std::vector<float> parts;
  int64_t first = 0;
  for (const int64_t count : {1, 47, 30, 0, 52}) {
    const auto part =
        backend().DownloadFloats(backend().FullAttention(rows, shape, starts, 70, first, count));
    parts.insert(parts.end(), part.begin(), part.end());
    first += count;
  }
  EXPECT_EQ(parts, whole);
}

TEST_P(FullAttentionTest, FullMatchesReference) {
  for (const int dim : {12, 40, 64, 72, 128}) {
    const AttentionShape shape = {3, 3, dim, 0.125f};
    const std::vector<int32_t> lengths = {1, 70, 33, 0, 5};
    const int64_t width = 9 * dim;
    std::vector<int32_t> starts = {0};
    std::vector<float> all;
    reference::Values expected;
    for (size_t s = 0; s < lengths.size(); ++s) {
      const auto qkv = Random(lengths[s] * width, 20 + s, 3.0f);
      all.insert(all.end(), qkv.begin(), qkv.end());
      starts.push_back(starts.back() + lengths[s]);
      for (int64_t row = 0; row < lengths[s]; ++row) {
        const auto y = Expected(shape, shape.scale, qkv, row, lengths[s], false);
        expected.insert(expected.end(), y.begin(), y.end());
      }
    }
    Tensor y = backend().FullAttention(backend().UploadActivations(all, {starts.back(), width}),
                                       shape, backend().Upload(starts, {6}), 70);
    EXPECT_TRUE(Near(backend().DownloadFloats(y), expected, tolerance()));
  }
}

// Scores far apart and very large: no overflow, and the largest wins.
TEST_P(FullAttentionTest, BearsLargeScores) {
  const AttentionShape shape = {1, 1, 64, 1.0f};
  std::vector<float> qkv(40 * 192, 0.0f);
  for (int64_t t = 0; t < 40; ++t) {
    qkv[t * 192] = 128;
    qkv[t * 192 + 64] = (t == 11) ? 128.0f : -128.0f;
    qkv[t * 192 + 128] = static_cast<float>(t);
  }
  const std::vector<int32_t> starts = {0, 40};
  const auto y = backend().DownloadFloats(backend().FullAttention(
      backend().UploadActivations(qkv, {40, 192}), shape, backend().Upload(starts, {2}), 40));
  for (int64_t t = 0; t < 40; ++t) EXPECT_EQ(y[t * 64], 11.0f);
}

INSTANTIATE_TEST_SUITE_P(Devices, FullAttentionTest, ::testing::ValuesIn(BackendCases()),
                         BackendCaseName);

}  // namespace
}  // namespace tessera::testing
