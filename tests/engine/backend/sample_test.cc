// SampleKernelInput tokens on every device: the very token that the definition
// (engine/backend/sample.h) gives.
#include <limits>
#include <random>
#include <set>

#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SampleTest : public BackendTest {
 protected:
  // The tokens of rows of `stride` logits, the first `columns` of which count.
  std::vector<int32_t> Tokens(const std::vector<float>& logits, int64_t columns, int64_t stride,
                              const std::vector<SampleParams>& samples,
                              const std::vector<LogitAdjustment>& adjustments = {}) {
    const Tensor x = backend().Upload(logits, {static_cast<int64_t>(samples.size()), stride});
    auto tokens = backend().DownloadInts(backend().SampleTokens(x, columns, samples, adjustments));
    backend().ResetArena();
    return tokens;
  }
};

TEST_P(SampleTest, GivesTheTokenOfTheDefinition) {
  std::mt19937 random(3);
  for (const int64_t columns : {1, 2, 31, 700, 1500}) {
    const int64_t stride = columns + 5;
    const int rows = 24;
    std::vector<float> logits;
    std::vector<SampleParams> samples;
    for (int r = 0; r < rows; ++r) {
      // Few values, so that equal ones lie at every limit; in a third of the rows all differ.
      std::normal_distribution<float> normal(0, 3);
      for (int64_t i = 0; i < columns; ++i) {
        const float logit = normal(random);
        logits.push_back(r % 3 == 0 ? logit : std::round(logit * 2) / 2 * (r % 2 == 0 ? 1 : -1));
      }
      logits.insert(logits.end(), 5, 100.0f);  // padding
      SampleParams sample;
      sample.temperature = r % 8 == 0 ? 0 : 0.1f + static_cast<float>(random() % 30) / 10;
      sample.top_k = r % 2 == 0 ? 0 : static_cast<int32_t>(1 + random() % (columns + 3));
      sample.top_p = r % 3 == 0 ? 1 : static_cast<float>(1 + random() % 100) / 100;
      sample.min_p = r % 4 == 0 ? 0.05f : 0;
      sample.uniform = r == 5 ? 0 : r == 7 ? 1 - 0x1p-53 : static_cast<double>(random()) * 0x1p-32;
      samples.push_back(sample);
    }
    const auto tokens = Tokens(logits, columns, stride, samples);
    for (int r = 0; r < rows; ++r) {
      const std::span row(logits.data() + r * stride, static_cast<size_t>(columns));
      EXPECT_EQ(tokens[r], SampleToken(row, samples[r])) << "row " << r << " of " << columns;
    }
  }
}

TEST_P(SampleTest, EveryTokenThatIsKeptIsDrawnAndNoOther) {
  const std::vector<float> logits = {1, 3, -kInfinity, 3, 2, 3, -0.0f, 0.0f, 2};
  const struct {
    int32_t top_k;
    float top_p, min_p;
    std::set<int32_t> kept;
  } cases[] = {{0, 1, 0, {0, 1, 3, 4, 5, 6, 7, 8}},
               {2, 1, 0, {1, 3}},
               {4, 1, 0, {1, 3, 4, 5}},
               {5, 0.2f, 0, {1}},
               {0, 0.5f, 0, {1, 3, 5}},
               {0, 1, 0.3f, {0, 1, 3, 4, 5, 8}},
               {7, 1, 0, {0, 1, 3, 4, 5, 6, 8}},
               {0, 1, 1, {1, 3, 5}}};
  for (const auto& c : cases) {
    std::vector<SampleParams> samples;
    std::vector<float> rows;
    for (int i = 0; i < 60; ++i) {
      samples.push_back({2, c.top_k, c.top_p, c.min_p, (i + 0.5) / 60});
      rows.insert(rows.end(), logits.begin(), logits.end());
    }
    const auto tokens = Tokens(rows, 9, 9, samples);
    EXPECT_EQ(std::set<int32_t>(tokens.begin(), tokens.end()), c.kept)
        << c.top_k << " " << c.top_p << " " << c.min_p;
  }
}

TEST_P(SampleTest, EditsComeFirst) {
  const std::vector<float> logits = {4, -2, 2.5f, 0,  //
                                     4, -2, 2.5f, 0};
  const std::vector<SampleParams> samples = {{}, {0.5f, 2, 1, 0, 0.9}};
  EXPECT_EQ(Tokens(logits, 4, 4, samples), (std::vector<int32_t>{0, 0}));
  const std::vector<LogitAdjustment> adjustments = {
      {0, 0, 2, 0}, {1, 0, 1, -kInfinity}, {1, 3, 0.5f, 7}};
  EXPECT_EQ(Tokens(logits, 4, 4, samples, adjustments), (std::vector<int32_t>{2, 3}));
}

TEST_P(SampleTest, RowsThatAreNotFiniteGiveTheirLargest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits = {1,          nan,        2,          //
                                     kInfinity,  0,          kInfinity,  //
                                     -kInfinity, -kInfinity, -kInfinity};
  const std::vector<SampleParams> samples(
      3, {.temperature = 1, .top_k = 2, .top_p = 0.5f, .uniform = 0.9});
  EXPECT_EQ(Tokens(logits, 3, 3, samples), (std::vector<int32_t>{1, 0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Devices, SampleTest, ::testing::ValuesIn(BackendCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
