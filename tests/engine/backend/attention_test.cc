// Rotary positions, the paged cache and attention on every device; and equal bits however a prompt
// is cut.
#include "tests/engine/backend/attention_setup.h"

namespace tessera::testing {
namespace {

TEST_P(AttentionTest, PagedMatchesReference) {
  struct Case {
    AttentionShape shape;
    int block_size;
    std::vector<int64_t> lengths;
  };
  const Case cases[] = {
      {{2, 2, 40}, 4, {1, 2, 5}},      {{4, 2, 64}, 16, {70, 33, 1}},
      {{8, 1, 72}, 16, {17, 64}},      {{3, 3, 80}, 4, {31, 32}},
      {{4, 4, 128}, 16, {65}},         {{2, 1, 64, 0, 8}, 16, {70, 3}},
      {{4, 2, 18}, 16, {70, 5}},       {{2, 1, 12, 0, 7}, 16, {40}},
      {{60, 1, 40}, 8, {3}},           {{4, 1, 8}, 64, {130, 64}},
      {{1, 1, 256}, 64, {67, 1}},      {{2, 1, 128}, 64, {300}},
      {{2, 2, 64, 0, 200}, 16, {600}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.shape.head_dim);
    const int64_t width = (c.shape.heads + 2 * c.shape.kv_heads) * c.shape.head_dim;
    Setup setup = MakeSetup(c.shape, c.block_size, c.lengths.size(),
                            *std::max_element(c.lengths.begin(), c.lengths.end()));
    std::vector<Span> spans;
    std::vector<float> all;
    reference::Values expected;
    for (size_t s = 0; s < c.lengths.size(); ++s) {
      const auto qkv = Random(c.lengths[s] * width, 10 + s, 2.0f);
      all.insert(all.end(), qkv.begin(), qkv.end());
      spans.push_back({0, c.lengths[s]});
      const auto kept = Kept(c.shape, qkv);
      for (int64_t row = 0; row < c.lengths[s]; ++row) {
        const auto y = Expected(c.shape, setup.shape.scale, kept, row, c.lengths[s], true);
        expected.insert(expected.end(), y.begin(), y.end());
      }
    }
    EXPECT_TRUE(Near(Pass(setup, spans, all), expected, tolerance()));
  }
}

TEST_P(AttentionTest, WindowsEndWhereTheBatchSays) {
  const AttentionShape shape = {4, 2, 40, 0, 6};
  AttentionShape open = shape;
  open.sliding_window = 0;
  const int64_t width = 8 * shape.head_dim;
  const std::vector<int64_t> lengths = {90, 35, 7};
  const std::vector<int32_t> ends = {61, 0, 7};
  const Setup setup = MakeSetup(shape, 16, lengths.size(), 90);
  std::vector<Span> spans;
  std::vector<float> all;
  reference::Values expected;
  for (size_t s = 0; s < lengths.size(); ++s) {
    const auto qkv = Random(lengths[s] * width, 30 + s, 2.0f);
    all.insert(all.end(), qkv.begin(), qkv.end());
    spans.push_back({0, lengths[s]});
    const auto kept = Kept(shape, qkv);
    for (int64_t row = 0; row < lengths[s]; ++row) {
      const auto y =
          Expected(row < ends[s] ? shape : open, setup.shape.scale, kept, row, lengths[s], true);
      expected.insert(expected.end(), y.begin(), y.end());
    }
  }
  EXPECT_TRUE(Near(Pass(setup, spans, all, ends), expected, tolerance()));
}

// One pass, 16 rows at a time, one by one, and beside another sequence: the same bits.
TEST_P(AttentionTest, CutsDoNotMatter) {
  for (const AttentionShape& shape : {AttentionShape{2, 1, 18}, AttentionShape{4, 2, 80},
                                      AttentionShape{2, 2, 64, 0, 21}, AttentionShape{16, 1, 40}}) {
    if (float8_kv() && shape.head_dim == 40) continue;  // like 18 there
    const int64_t width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    const int64_t length = 150;
    const auto qkv = Random(length * width, 1, 2.0f);
    const auto other = Random(length * width, 2, 2.0f);
    Setup whole = MakeSetup(shape, 16, 2, length);
    const auto expected = Pass(whole, {{0, length}}, qkv);
    for (const int64_t step : {16, 1, 37}) {
      Setup cut = MakeSetup(shape, 4, 2, length);
      std::vector<float> got;
      for (int64_t begin = 0; begin < length; begin += step) {
        const int64_t rows = std::min(step, length - begin);
        std::vector<float> both(qkv.begin() + begin * width, qkv.begin() + (begin + rows) * width);
        both.insert(both.end(), other.begin() + begin * width,
                    other.begin() + (begin + rows) * width);
        auto y = Pass(cut, {{begin, rows}, {begin, rows}}, both);
        got.insert(got.end(), y.begin(), y.begin() + rows * shape.heads * shape.head_dim);
        backend().ResetArena();
      }
      ASSERT_EQ(got.size(), expected.size());
      EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0) << step;
    }
  }
}

// Over contexts that devices may cut into splits: a prompt in one pass, or in parts and single rows
// beside other sequences, few and many.
TEST_P(AttentionTest, CutsOfLongContextsDoNotMatter) {
  struct Case {
    AttentionShape shape;
    std::vector<Span> others;
  };
  const Case cases[] = {{{2, 1, 64}, {{0, 100}}},
                        {{8, 8, 16, 0, 300}, std::vector<Span>(128, {0, 1})},
                        {{1, 1, 136}, {}}};
  const int64_t length = 800;
  for (const auto& [shape, others] : cases) {
    SCOPED_TRACE(shape.head_dim);
    const int64_t width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    const int64_t hidden = shape.heads * shape.head_dim;
    const auto qkv = Random(length * width, 3, 2.0f);
    const auto expected = Pass(MakeSetup(shape, 64, 1, length), {{0, length}}, qkv);
    const Setup cut = MakeSetup(shape, 64, 1 + others.size(), length);
    std::vector<float> got;
    for (const Span& span :
         {Span{0, 510}, Span{510, 48}, Span{558, 240}, Span{798, 1}, Span{799, 1}}) {
      std::vector<Span> spans = {span};
      int64_t rows = span.rows;
      for (const Span& other : others) {
        spans.push_back(other);
        rows += other.rows;
      }
      auto all = Random(rows * width, 4, 2.0f);
      std::copy_n(qkv.begin() + span.cached * width, span.rows * width, all.begin());
      const auto y = Pass(cut, spans, all);
      got.insert(got.end(), y.begin(), y.begin() + span.rows * hidden);
      backend().ResetArena();
    }
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0);
  }
}

// What lies before the window of a pass's first row, whose blocks may be others' by then, and
// behind the context.
TEST_P(AttentionTest, LeavesKeysThatNoRowSeesAlone) {
  const AttentionShape shape = {2, 1, 40, 0, 10};
  const int64_t width = 4 * shape.head_dim;
  const int64_t length = 100;
  const Setup setup = MakeSetup(shape, 16, 1, length);
  const auto& dims = setup.kv.keys.dims;
  const std::vector<float> nothing(setup.kv.keys.elements(), std::nanf(""));
  for (const Tensor& to : {setup.kv.keys, setup.kv.values}) {
    if (float8_kv()) continue;
    backend().Copy(backend().UploadActivations(nothing, {dims[0], dims[1], dims[2], dims[3]}), to);
  }
  for (const Tensor& to : {setup.kv.key_scales, setup.kv.value_scales}) {
    if (!float8_kv()) continue;
    const auto count = static_cast<size_t>(to.elements());
    backend().Copy(backend().Upload(std::span(nothing).first(count), {dims[0], dims[1], dims[2]}),
                   to);
  }
  const auto qkv = Random(length * width, 5, 2.0f);
  Pass(setup, {{50, 10}}, std::span(qkv).subspan(50 * width, 10 * width));
  const auto kept = Kept(shape, qkv);
  reference::Values expected;
  for (int64_t row = 60; row < length; ++row) {
    const auto y = Expected(shape, setup.shape.scale, kept, row, length, true);
    expected.insert(expected.end(), y.begin(), y.end());
  }
  const auto y = Pass(setup, {{60, length - 60}}, std::span(qkv).subspan(60 * width));
  EXPECT_TRUE(Near(y, expected, tolerance()));
}

TEST_P(AttentionTest, RotatesAndWrites) {
  const AttentionShape shape = {2, 1, 40};
  const int64_t pairs = 7;  // of a head's 20
  const int64_t dim = shape.head_dim;
  const int64_t width = 4 * dim;
  Setup setup = MakeSetup(shape, 4, 2, 12);
  const std::vector<Span> spans = {{3, 5}, {0, 2}};
  PagedBatch batch = MakeBatch(setup, spans);
  const std::vector<int32_t> positions = {3, 4, 5, 6, 7, 0, 1, 9, 9, 8, 8, 7, 7, 6};  // two axes
  batch.positions = backend().Upload(positions, {2, 7});
  const std::vector<int32_t> axes = {0, 1, 0, 1, 1, 0, 0};
  const auto cosine = RandomFloats(10 * pairs, 5, 1.0f, DType::kFloat32);
  const auto sine = RandomFloats(10 * pairs, 6, 1.0f, DType::kFloat32);
  Rope rope;
  rope.cosine = Keep(cosine, {10, pairs}, DType::kFloat32);
  rope.sine = Keep(sine, {10, pairs}, DType::kFloat32);
  rope.pair_axis = backend().Upload(axes, {pairs});
  const auto qkv = Random(7 * width, 1);
  Tensor rows = backend().UploadActivations(qkv, {7, width});
  backend().RopeWriteKv(rows, shape, {}, rope, batch, setup.kv);
  auto expected = Widen(qkv);
  for (int64_t t = 0; t < 7; ++t) {
    reference::Values c, s;
    for (int64_t i = 0; i < pairs; ++i) {
      c.push_back(cosine[positions[axes[i] * 7 + t] * pairs + i]);
      s.push_back(sine[positions[axes[i] * 7 + t] * pairs + i]);
    }
    for (int64_t h = 0; h < 3; ++h) {
      reference::Rotate(&expected[t * width + h * dim], pairs, c.data(), s.data());
    }
  }
  const auto turned = backend().DownloadFloats(rows);
  EXPECT_TRUE(Near(turned, expected, tolerance()));
  const auto slots = backend().DownloadInts(batch.slots);
  const auto kept = Kept(shape, turned);
  const auto keys = Cached(setup.kv.keys, setup.kv.key_scales);
  const auto values = Cached(setup.kv.values, setup.kv.value_scales);
  for (int64_t t = 0; t < 7; ++t) {
    for (int64_t i = 0; i < dim; ++i) {
      EXPECT_EQ(keys[slots[t] * dim + i], kept[t * width + 2 * dim + i]);
      EXPECT_EQ(values[slots[t] * dim + i], kept[t * width + 3 * dim + i]);
    }
  }
}

TEST_P(AttentionTest, NormsHeadsBeforeItTurnsThem) {
  const AttentionShape shape = {2, 1, 8};
  const int64_t width = 4 * 8;
  const Setup setup = MakeSetup(shape, 4, 1, 12);
  const PagedBatch batch = MakeBatch(setup, {{0, 3}});
  const auto weights = RandomFloats(16, 3, 1.0f, DType::kFloat32);
  const auto cosine = RandomFloats(3 * 4, 5, 1.0f, DType::kFloat32);
  const auto sine = RandomFloats(3 * 4, 6, 1.0f, DType::kFloat32);
  const std::vector<int32_t> axes(4, 0);
  Rope rope;
  rope.cosine = Keep(cosine, {3, 4}, DType::kFloat32);
  rope.sine = Keep(sine, {3, 4}, DType::kFloat32);
  rope.pair_axis = backend().Upload(axes, {4});
  HeadNorms norms;
  norms.query = {NormKind::kRmsNorm,
                 1e-6f,
                 Keep({weights.begin(), weights.begin() + 8}, {8}, DType::kFloat32),
                 {}};
  norms.key = {NormKind::kRmsNorm,
               1e-6f,
               Keep({weights.begin() + 8, weights.end()}, {8}, DType::kFloat32),
               {}};
  const auto qkv = Random(3 * width, 1);
  const Tensor rows = backend().UploadActivations(qkv, {3, width});
  backend().RopeWriteKv(rows, shape, norms, rope, batch, setup.kv);
  auto expected = Widen(qkv);
  for (int64_t t = 0; t < 3; ++t) {
    const reference::Values c(cosine.begin() + t * 4, cosine.begin() + (t + 1) * 4);
    const reference::Values s(sine.begin() + t * 4, sine.begin() + (t + 1) * 4);
    for (int64_t h = 0; h < 3; ++h) {
      const auto head = expected.begin() + t * width + h * 8;
      const auto weight = weights.begin() + (h < 2 ? 0 : 8);
      const reference::Values normed =
          reference::Norm({head, head + 8}, {weight, weight + 8}, {}, NormKind::kRmsNorm, 1e-6);
      std::copy(normed.begin(), normed.end(), head);
      reference::Rotate(&*head, 4, c.data(), s.data());
    }
  }
  EXPECT_TRUE(Near(backend().DownloadFloats(rows), expected, tolerance()));
}

TEST_P(AttentionTest, HeadsThatNoKernelTakesAreRefused) {
  EXPECT_TRUE(backend().CheckHeadDim(256).ok());
  if (backend().name() == "cpu") return;  // takes any
  EXPECT_EQ(backend().CheckHeadDim(257).code(), absl::StatusCode::kFailedPrecondition);
}

INSTANTIATE_TEST_SUITE_P(Devices, AttentionTest, ::testing::ValuesIn(PagedCases()),
                         BackendCaseName);

}  // namespace
}  // namespace tessera::testing
