// Repeated work on every device: whatever the device keeps of it, results are those of doing it.
#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

constexpr int64_t kCols = 48;

class GraphCacheTest : public BackendTest {
 protected:
  void SetUp() override {
    BackendTest::SetUp();
    if (IsSkipped()) return;
    weight_ = Random(kCols * kCols, 1, 0.3f);
    packed_ = *backend().PackLinear({{Host(weight_, {kCols, kCols})}, {}});
    graph_cache_ = backend().MakeGraphCache();
  }

  // One step: uploads rows that depend on `step`, puts them through the layer and adds them to the
  // result, by the graph_cache or without. `before` bytes of the arena are taken first.
  std::vector<float> Step(int step, int64_t rows, bool repeated, int64_t before = 0) {
    if (before > 0) backend().New(DType::kInt32, {before / 4});
    const Tensor x = backend().UploadActivations(Random(rows * kCols, 100 + step), {rows, kCols});
    const auto work = [&] {
      const Tensor y = backend().Linear(x, *packed_, Activation::kSilu);
      backend().Add(y, x);
      const Tensor copy = backend().New(y.dtype, {rows, kCols});
      backend().Copy(y, copy);
      return std::vector<Tensor>{x, copy};
    };
    const std::vector<Tensor> tensors =
        repeated ? graph_cache_->Run(std::to_string(rows) + " rows", work) : work();
    EXPECT_EQ(tensors[0].data, x.data);
    // What is queued behind must not lie where repeated work writes.
    const std::vector<int32_t> marks(1000, step);
    const Tensor behind = backend().Upload(marks, {1000});
    auto result = backend().DownloadFloats(tensors[1]);
    EXPECT_EQ(backend().DownloadInts(behind), marks);
    backend().ResetArena();
    return result;
  }

  std::vector<float> weight_;
  std::unique_ptr<PackedLinear> packed_;
  std::unique_ptr<GraphCache> graph_cache_;
};

TEST_P(GraphCacheTest, GivesWhatTheWorkGives) {
  for (int step = 0; step < 6; ++step) {
    for (const int64_t rows : {1, 3, 17}) {
      EXPECT_EQ(Step(step, rows, true), Step(step, rows, false)) << step << ", " << rows;
    }
  }
}

TEST_P(GraphCacheTest, FollowsTheArena) {
  for (const int64_t before : {0, 0, 0, 4096, 0, 4096, 0}) {
    EXPECT_EQ(Step(1, 5, true, before), Step(1, 5, false)) << before;
  }
  // More than a chunk of the arena: it grows in mid-step, then lies elsewhere.
  for (const int64_t before : {int64_t{0}, int64_t{40} << 20, int64_t{0}, int64_t{40} << 20}) {
    EXPECT_EQ(Step(2, 5, true, before), Step(2, 5, false)) << before;
  }
}

TEST_P(GraphCacheTest, ForgetsWhatIsNotAskedFor) {
  for (int turn = 0; turn < 3; ++turn) {
    for (int64_t rows = 1; rows <= 70; ++rows) Step(turn, rows, true);
    EXPECT_EQ(Step(turn, 1, true), Step(turn, 1, false));
    EXPECT_EQ(Step(turn, 1, true), Step(turn, 1, false));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, GraphCacheTest, ::testing::ValuesIn(BackendCases()),
                         BackendCaseName);

}  // namespace
}  // namespace tessera::testing
