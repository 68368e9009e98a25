// KV caches of 8 bits: which rows they hold and how, on devices that have them.
#include "engine/model/kv_cache.h"
#include "tests/engine/backend/attention_setup.h"

namespace tessera::testing {
namespace {

class Float8KvTest : public AttentionTest {
 protected:
  void SetUp() override {
    AttentionTest::SetUp();
    if (!IsSkipped() && !float8_kv()) GTEST_SKIP() << "no cache of 8 bits";
  }

  // Writes `heads` [rows, dim] as the keys of a single head to a cache, and as its values.
  Setup Written(const std::vector<float>& heads, int64_t dim) {
    const int64_t rows = static_cast<int64_t>(heads.size()) / dim;
    Setup setup = MakeSetup({1, 1, static_cast<int>(dim)}, 16, 1, rows);
    std::vector<float> qkv;
    for (int64_t row = 0; row < rows; ++row) {
      for (int part = 0; part < 3; ++part) {
        qkv.insert(qkv.end(), heads.begin() + row * dim, heads.begin() + (row + 1) * dim);
      }
    }
    Pass(setup, {{0, rows}}, qkv);
    return setup;
  }
};

// Scales are those of the reference for rows of every size, and the numbers the nearest ones.
TEST_P(Float8KvTest, RowsAreTheirScaleTimesTheNearestNumbers) {
  const int64_t dim = 48;
  std::vector<float> heads(dim, 0.0f);  // the first row is zero
  for (int power = -13; power <= 15; ++power) {
    auto row = Random(dim, 40 + power, std::ldexp(0.75f, power));
    row[power + 13] =
        std::ldexp(power % 2 == 0 ? 0.875f : 0.90625f, power);  // on both sides of 448
    heads.insert(heads.end(), row.begin(), row.end());
  }
  const Setup setup = Written(heads, dim);
  const auto expected = KeptRows(heads, dim);
  auto keys = Cached(setup.kv.keys, setup.kv.key_scales);
  const int64_t rows = static_cast<int64_t>(heads.size()) / dim;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t place = setup.blocks[row / 16] * 16 + row % 16;
    for (int64_t i = 0; i < dim; ++i) {
      EXPECT_EQ(keys[place * dim + i], expected[row * dim + i]) << row;
    }
  }
  EXPECT_EQ(keys, Cached(setup.kv.values, setup.kv.value_scales));
  EXPECT_EQ(backend().DownloadFloats(setup.kv.key_scales)[setup.blocks[0] * 16], 1.0f);
}

// The largest numbers of the activations' type: what the cache makes of them is finite, too.
TEST_P(Float8KvTest, TheLargestNumbersStayFinite) {
  const float most = dtype() == DType::kFloat16 ? 65504.0f : std::ldexp(255.0f, 120);
  const int64_t dim = 64;
  std::vector<float> qkv(3 * dim, 0.0f);
  qkv[2 * dim] = most;
  const Setup setup = MakeSetup({1, 1, static_cast<int>(dim)}, 16, 1, 1);
  const auto y = Pass(setup, {{0, 1}}, qkv);
  EXPECT_NEAR(y[0] / most, 1, 0.13);
  EXPECT_EQ(y[1], 0.0f);
}

// A row that is not finite makes what sees it NaN, and nothing else.
TEST_P(Float8KvTest, WhatIsNotFiniteIsSeen) {
  for (const int64_t dim : {64, 24}) {
    const std::vector<Span> spans = {{0, 3}, {0, 3}};
    const auto sound = Random(6 * 3 * dim, 5);
    for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
      for (const int64_t part : {1, 2}) {
        auto qkv = sound;
        qkv[2 * 3 * dim + part * dim + 7] = bad;  // of the first sequence's last row
        const Setup setup = MakeSetup({1, 1, static_cast<int>(dim)}, 16, 2, 3);
        const auto y = Pass(setup, spans, qkv);
        for (int64_t i = 0; i < dim; ++i) EXPECT_TRUE(std::isnan(y[2 * dim + i])) << i;
        for (int64_t i = 3 * dim; i < 6 * dim; ++i) EXPECT_TRUE(std::isfinite(y[i])) << i;
      }
    }
  }
}

// A copied block gives the bits of the one it was copied from.
TEST_P(Float8KvTest, CopiedBlocksBringTheirScales) {
  DecoderSpec decoder;
  decoder.layers = 2;
  decoder.kv_heads = 2;
  decoder.head_dim = 64;
  const auto cache = KvCache::Allocate(backend(), decoder, 2, 16, DType::kFloat8);
  ASSERT_TRUE(cache.ok()) << cache.status();
  Setup setup;
  setup.shape = {4, 2, 64, 0.125f};
  setup.blocks_per_sequence = 1;
  const int64_t width = 8 * 64;
  const auto qkv = Random(16 * width, 3, 2.0f);
  for (int layer = 0; layer < 2; ++layer) {
    setup.kv = (*cache)->layer(layer);
    setup.blocks = {0};
    Pass(setup, {{0, 15}}, std::span(qkv).first(15 * width));
  }
  (*cache)->CopyBlock(backend(), 0, 1);
  const auto last = std::span(qkv).last(width);
  for (int layer = 0; layer < 2; ++layer) {
    setup.kv = (*cache)->layer(layer);
    setup.blocks = {0};
    const auto expected = Pass(setup, {{15, 1}}, last);
    setup.blocks = {1};
    EXPECT_EQ(Pass(setup, {{15, 1}}, last), expected);
  }
}

TEST_P(Float8KvTest, IsTaken) {
  EXPECT_TRUE(backend().CheckKvDType(DType::kFloat8).ok());
  EXPECT_TRUE(backend().CheckKvDType(dtype()).ok());
}

INSTANTIATE_TEST_SUITE_P(Devices, Float8KvTest, ::testing::ValuesIn(PagedCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
