// Dense layers with low-rank experts on every device: the sum that the routing asks for, and equal
// bits row by row.
#include <cstring>
#include <limits>

#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

class LoraTest : public BackendTest {
 protected:
  struct Shape {
    int64_t experts, rank, in;
    std::vector<int64_t> outs;  // of the pieces
    bool biased = false;
    float scale = 2;
  };
  struct Layer {
    Shape shape;
    std::vector<std::vector<float>> weight, bias;       // [piece]
    std::vector<std::vector<std::vector<float>>> a, b;  // [piece][expert]
    std::unique_ptr<PackedLora> packed;
  };

  Layer MakeLayer(const Shape& shape) {
    Layer layer;
    layer.shape = shape;
    for (size_t i = 0; i < shape.outs.size(); ++i) {
      const auto seed = static_cast<uint32_t>(1000 * i);
      layer.weight.push_back(Random(shape.outs[i] * shape.in, seed + 1, 0.2f));
      if (shape.biased) layer.bias.push_back(Random(shape.outs[i], seed + 2));
      layer.a.emplace_back();
      layer.b.emplace_back();
      for (int64_t e = 0; e < shape.experts; ++e) {
        layer.a[i].push_back(Random(shape.rank * shape.in, seed + 100 + e, 0.2f));
        layer.b[i].push_back(Random(shape.outs[i] * shape.rank, seed + 200 + e, 0.2f));
      }
    }
    LoraWeights source = Source(layer);
    auto packed = backend().PackLora(source);
    EXPECT_TRUE(packed.ok()) << packed.status().ToString();
    if (packed.ok()) layer.packed = *std::move(packed);
    return layer;
  }

  static LoraWeights Source(const Layer& layer) {
    const Shape& shape = layer.shape;
    LoraWeights source;
    source.scale = shape.scale;
    source.a.resize(shape.experts);
    source.b.resize(shape.experts);
    for (size_t i = 0; i < shape.outs.size(); ++i) {
      source.base.weights.push_back(Host(layer.weight[i], {shape.outs[i], shape.in}));
      if (shape.biased) source.base.biases.push_back(Host(layer.bias[i], {shape.outs[i]}));
      for (int64_t e = 0; e < shape.experts; ++e) {
        source.a[e].weights.push_back(Host(layer.a[i][e], {shape.rank, shape.in}));
        source.b[e].weights.push_back(Host(layer.b[i][e], {shape.outs[i], shape.rank}));
      }
    }
    return source;
  }

  // A routing of the rows of x by a router sampled from `seed`: `choices` of the experts for each
  // row.
  Routing RouteRows(Tensor x, int64_t experts, int choices, bool renormalize) {
    const auto router = RandomFloats(experts * x.cols(), 77, 0.2f, DType::kFloat32);
    const auto bias = RandomFloats(experts, 78, 0.5f, DType::kFloat32);
    RouterConfig config;
    config.experts_per_token = choices;
    config.renormalize = renormalize;
    return backend().Route(x, backend().Upload(router, {experts, x.cols()}),
                           backend().Upload(bias, {experts}), config, {});
  }

  // What each row must give, the pieces side by side.
  reference::Values Expected(const Layer& layer, const std::vector<float>& x,
                             const Routing& routing) {
    const Shape& shape = layer.shape;
    const int64_t rows = routing.experts.rows();
    const int64_t choices = routing.experts.cols();
    const auto chosen = backend().DownloadInts(routing.experts);
    const auto weights = backend().DownloadFloats(routing.weights);
    reference::Values gates(rows * shape.experts, 0.0);
    for (int64_t i = 0; i < rows * choices; ++i) {
      gates[i / choices * shape.experts + chosen[i]] = weights[i];
    }
    std::vector<reference::Values> parts;
    int64_t total = 0;
    for (size_t i = 0; i < shape.outs.size(); ++i) {
      std::vector<reference::Values> a, b;
      for (const auto& matrix : layer.a[i]) a.push_back(Widen(matrix));
      for (const auto& matrix : layer.b[i]) b.push_back(Widen(matrix));
      const auto base = reference::Linear(Widen(x), Widen(layer.weight[i]),
                                          shape.biased ? Widen(layer.bias[i]) : reference::Values(),
                                          shape.in, shape.outs[i], Activation::kNone);
      parts.push_back(reference::AddLora(base, Widen(x), a, b, gates, shape.scale, shape.in,
                                         shape.rank, shape.outs[i]));
      total += shape.outs[i];
    }
    reference::Values all;
    for (int64_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < parts.size(); ++i) {
        const auto row = parts[i].begin() + t * shape.outs[i];
        all.insert(all.end(), row, row + shape.outs[i]);
      }
    }
    EXPECT_EQ(static_cast<int64_t>(all.size()), rows * total);
    return all;
  }
};

TEST_P(LoraTest, MatchesReference) {
  const Shape shapes[] = {
      {3, 4, 64, {96, 96}},           // gate and up
      {3, 4, 96, {64}},               // down
      {1, 8, 80, {33, 17, 5}, true},  // plain LoRA beside stacked pieces with biases
      {5, 3, 37, {70}, false, 0.3f},  // nothing a multiple of a vector
      {4, 32, 1100, {130, 40}, true, 1},
  };
  for (const Shape& shape : shapes) {
    const Layer layer = MakeLayer(shape);
    ASSERT_NE(layer.packed, nullptr);
    EXPECT_EQ(layer.packed->experts, shape.experts);
    EXPECT_EQ(layer.packed->rank, shape.rank);
    for (const bool dense : {false, true}) {
      SCOPED_TRACE(dense);
      for (const int64_t rows : {1, 7, 70}) {
        const auto x = Random(rows * shape.in, 7);
        Tensor input = backend().UploadActivations(x, {rows, shape.in});
        const Routing routing =
            RouteRows(input, shape.experts, dense ? static_cast<int>(shape.experts) : 1, !dense);
        Tensor y = backend().LoraLinear(input, *layer.packed, routing);
        EXPECT_TRUE(Near(backend().DownloadFloats(y), Expected(layer, x, routing), tolerance()));
      }
    }
  }
}

// The single choice weighs 1, and what the others hold stays out.
TEST_P(LoraTest, ExpertsNotChosenCannotBeSeen) {
  Layer layer = MakeLayer({3, 4, 64, {48}});
  const auto x = Random(64, 7);
  Tensor input = backend().UploadActivations(x, {1, 64});
  const Routing routing = RouteRows(input, 3, 1, true);
  const int32_t chosen = backend().DownloadInts(routing.experts)[0];
  ASSERT_EQ(backend().DownloadFloats(routing.weights)[0], 1.0f);
  const auto before = backend().DownloadFloats(backend().LoraLinear(input, *layer.packed, routing));
  for (int32_t e = 0; e < 3; ++e) {
    if (e == chosen) continue;
    for (float& value : layer.a[0][e]) value = std::numeric_limits<float>::max();
    for (float& value : layer.b[0][e]) value = 1;
  }
  const auto packed = backend().PackLora(Source(layer));
  ASSERT_TRUE(packed.ok());
  EXPECT_EQ(backend().DownloadFloats(backend().LoraLinear(input, **packed, routing)), before);
}

TEST_P(LoraTest, RefusesMatricesThatDoNotFit) {
  const Layer layer = MakeLayer({2, 4, 64, {48, 16}});
  const auto code = [&](const LoraWeights& source) {
    return backend().PackLora(source).status().code();
  };
  LoraWeights source = Source(layer);
  EXPECT_EQ(code(source), absl::StatusCode::kOk);
  source.b.pop_back();
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  source = Source(layer);
  source.a[1].weights.pop_back();
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  source = Source(layer);
  source.a[1].weights[1].dims = {2, 128};  // another rank, and another width
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  source = Source(layer);
  std::swap(source.b[0].weights[0], source.b[0].weights[1]);
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  source = Source(layer);
  source.a[0].weights[0].dims = {};
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  source = Source(layer);
  source.b[0].weights[0].dtype = DType::kInt32;
  EXPECT_EQ(code(source), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({}), absl::StatusCode::kInvalidArgument);
}

TEST_P(LoraTest, NoRows) {
  const Layer layer = MakeLayer({3, 4, 64, {48}});
  Tensor input = backend().New(dtype(), {0, 64});
  EXPECT_EQ(backend().LoraLinear(input, *layer.packed, RouteRows(input, 3, 1, true)).rows(), 0);
}

// Row i alone, among 7, among hundreds: the same bits.
TEST_P(LoraTest, RowsDoNotDependOnTheirNeighbours) {
  const int64_t most = emulated() ? 150 : 600;
  const int64_t out = 200;
  for (const int64_t in : {80, emulated() ? 640 : 2560}) {
    const Layer layer = MakeLayer({3, 16, in, {120, 80}});
    const auto x = Random(most * in, 3);
    for (const bool dense : {false, true}) {
      const auto run = [&](int64_t begin, int64_t rows) {
        Tensor part = backend().UploadActivations(
            std::span<const float>(x).subspan(begin * in, rows * in), {rows, in});
        return backend().DownloadFloats(
            backend().LoraLinear(part, *layer.packed, RouteRows(part, 3, dense ? 3 : 1, !dense)));
      };
      const std::vector<float> all = run(0, most);
      for (const int64_t rows : {1, 2, 7, 31, 64, 300}) {
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

INSTANTIATE_TEST_SUITE_P(Devices, LoraTest, ::testing::ValuesIn(BackendCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
