// The vision encoder on towers so small that what they give can be said by hand: patches of one
// pixel, an identity for a convolution, so that a patch's features are its three colours.
#include "engine/model/vision_encoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

constexpr int kHidden = 3;
using Floats = std::vector<float>;

const Floats kIdentity = {1, 0, 0, 0, 1, 0, 0, 0, 1};

// A tower of `grid` × `grid` patches of which no layer is run.
VisionSpec PixelTower(int grid) {
  VisionSpec spec;
  spec.image_size = grid;
  spec.patch_size = 1;
  spec.hidden = kHidden;
  spec.ffn = kHidden;
  spec.heads = 1;
  spec.layers = 1;
  spec.run_layers = 0;
  spec.embedding_norm = false;
  spec.prefix = "t.";
  return spec;
}

class VisionEncoderTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, const std::vector<int64_t>& dims, const Floats& values) {
    tensors_.AddFloats(name, dims, values);
  }
  void AddLinear(const std::string& name, const Floats& weight, const Floats& bias) {
    Add(name + ".weight", {kHidden, kHidden}, weight);
    if (!bias.empty()) Add(name + ".bias", {kHidden}, bias);
  }
  void AddEmbedding(const VisionSpec& spec) {
    Add("t.embeddings.patch_embedding.weight", {kHidden, 3, 1, 1}, kIdentity);
    if (spec.patch_bias) Add("t.embeddings.patch_embedding.bias", {kHidden}, {100, 200, 300});
    if (spec.class_token) Add("t.embeddings.class_embedding", {kHidden}, {-1, -2, -3});
    Add("t.embeddings.position_embedding.weight", {spec.rows(), kHidden},
        Floats(static_cast<size_t>(spec.rows()) * kHidden, 0.0f));
  }
  // A layer whose attention adds nothing and whose FFN adds act(`inner`) to every row.
  void AddLayer(const Floats& inner) {
    const std::string prefix = "t.encoder.layers.0.";
    const Floats zeros(9, 0.0f);
    const Floats none(3, 0.0f);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      AddLinear(prefix + "self_attn." + name, zeros, none);
    }
    for (const char* name : {"layer_norm1", "layer_norm2"}) {
      Add(prefix + name + ".weight", {kHidden}, none);
      Add(prefix + name + ".bias", {kHidden}, inner);
    }
    AddLinear(prefix + "mlp.fc1", kIdentity, none);
    AddLinear(prefix + "mlp.fc2", kIdentity, none);
  }

  absl::StatusOr<std::unique_ptr<VisionEncoder>> Load(const VisionSpec& spec,
                                                      const ProjectorSpec& projector = {}) {
    tensors_.Write(directory_.path() / "model.safetensors");
    ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open({{directory_.path()}}));
    WeightLoader loader(*backend_, *checkpoint_, nullptr);
    ModelSpec model;
    model.decoder.hidden = kHidden;
    model.vision = spec;
    model.projector = projector;
    return VisionEncoder::Load(model, loader);
  }
  Floats Encode(VisionEncoder& encoder, const std::vector<Floats>& images) {
    std::vector<PreparedImage> prepared(images.size());
    std::vector<const PreparedImage*> views;
    for (size_t i = 0; i < images.size(); ++i) {
      prepared[i].patches = images[i];
      views.push_back(&prepared[i]);
    }
    auto batch = encoder.Begin(*backend_, views);
    EXPECT_TRUE(batch.ok()) << batch.status();
    EXPECT_TRUE(encoder.Advance(*backend_, *batch, INFINITY).ok());
    auto features = encoder.Finish(*backend_, *batch);
    EXPECT_TRUE(features.ok()) << features.status();
    return backend_->DownloadFloats((*features)->tensor());
  }

  std::unique_ptr<Backend> backend_ = MakeCpuBackend({}).value();
  testing::TemporaryDirectory directory_;
  testing::SafetensorsWriter tensors_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

// Patches [count, 3] whose colours are value, value + 0.25, value + 0.5.
Floats Pixels(const Floats& values) {
  Floats patches;
  for (const float value : values) {
    for (int channel = 0; channel < 3; ++channel) patches.push_back(value + 0.25f * channel);
  }
  return patches;
}

Floats Count(int from, int count) {
  Floats values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(from + i));
  return values;
}

TEST_F(VisionEncoderTest, AClassTokenIsLeftOut) {
  const VisionSpec spec = PixelTower(2);
  AddEmbedding(spec);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(Encode(**encoder, {Pixels({1, 2, 3, 4})}), Pixels({1, 2, 3, 4}));
}

TEST_F(VisionEncoderTest, AllRowsIncludeTheClassToken) {
  VisionSpec spec = PixelTower(2);
  spec.skip_rows = 0;
  AddEmbedding(spec);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  Floats expected = {-1, -2, -3};
  const Floats pixels = Pixels({1, 2, 3, 4});
  expected.insert(expected.end(), pixels.begin(), pixels.end());
  EXPECT_EQ(Encode(**encoder, {pixels}), expected);
}

TEST_F(VisionEncoderTest, LearnedRowsStandAroundEachImage) {
  const VisionSpec spec = PixelTower(2);
  AddEmbedding(spec);
  Add("before", {1, 1, kHidden}, {10, 20, 30});
  Add("behind", {1, 1, kHidden}, {40, 50, 60});
  ProjectorSpec projector;
  projector.edges = {"before", "behind"};
  const auto encoder = Load(spec, projector);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  Floats expected;
  for (const Floats& image : {Pixels({1, 2, 3, 4}), Pixels({5, 6, 7, 8})}) {
    expected.insert(expected.end(), {10, 20, 30});
    expected.insert(expected.end(), image.begin(), image.end());
    expected.insert(expected.end(), {40, 50, 60});
  }
  EXPECT_EQ(Encode(**encoder, {Pixels({1, 2, 3, 4}), Pixels({5, 6, 7, 8})}), expected);
}

// SigLIP: a bias, no class token; "patch" then drops the first patch.
TEST_F(VisionEncoderTest, WithoutAClassTokenTheFirstPatchIsLost) {
  VisionSpec spec = PixelTower(2);
  spec.class_token = false;
  spec.patch_bias = true;
  AddEmbedding(spec);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(Encode(**encoder, {Pixels({1, 2, 3, 4})}),
            (Floats{102, 202.25f, 302.5f, 103, 203.25f, 303.5f, 104, 204.25f, 304.5f}));
}

TEST_F(VisionEncoderTest, TheTowersActivationIsUsed) {
  const std::pair<Activation, double (*)(double)> cases[] = {
      {Activation::kQuickGelu, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {Activation::kGeluErf, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }},
      {Activation::kGeluTanh,
       [](double x) {
         return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       }},
  };
  const Floats inner = {1.3f, -0.7f, 2.1f};
  VisionSpec spec = PixelTower(1);
  spec.run_layers = 1;
  AddEmbedding(spec);
  AddLayer(inner);
  for (const auto& [activation, expected] : cases) {
    spec.activation = activation;
    const auto encoder = Load(spec);
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    const Floats got = Encode(**encoder, {Pixels({5})});
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(got[i], 5 + 0.25 * i + expected(inner[i]), 2e-6) << static_cast<int>(activation);
    }
  }
}

// -----------------------------------------------------------------------------------------------------------------
// scales

TEST_F(VisionEncoderTest, ScalesStandSideBySide) {
  VisionSpec spec = PixelTower(2);
  spec.scales = {1, 2};
  AddEmbedding(spec);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  // The image at twice the size, tile by tile: tile t holds 10 t + {1, 2, 3, 4}. As a square,
  //    1  2 11 12
  //    3  4 13 14
  //   21 22 31 32
  //   23 24 33 34
  // a 2 × 2 block is a tile, and one token.
  const auto image = [](float base) {
    return Pixels({base + 90, base + 91, base + 92, base + 93,  //
                   base + 1,  base + 2,  base + 3,  base + 4,   //
                   base + 11, base + 12, base + 13, base + 14,  //
                   base + 21, base + 22, base + 23, base + 24,  //
                   base + 31, base + 32, base + 33, base + 34});
  };
  const auto expected = [](float base) {
    return Pixels({base + 90, base + 2.5f, base + 91, base + 12.5f, base + 92, base + 22.5f,
                   base + 93, base + 32.5f});
  };
  Floats both = expected(0);
  const Floats second = expected(1000);
  both.insert(both.end(), second.begin(), second.end());
  EXPECT_EQ(Encode(**encoder, {image(0), image(1000)}), both);
}

TEST_F(VisionEncoderTest, BlocksOfALargeScaleReachAcrossTiles) {
  VisionSpec spec = PixelTower(3);
  spec.scales = {1, 2};
  AddEmbedding(spec);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  // Four tiles of 3 × 3 make a 6 × 6 square; its pixel (y, x) has the value 10 y + x.
  Floats values(9, 0.0f);
  for (int tile = 0; tile < 4; ++tile) {
    for (int i = 0; i < 9; ++i) {
      const int y = tile / 2 * 3 + i / 3;
      const int x = tile % 2 * 3 + i % 3;
      values.push_back(static_cast<float>(10 * y + x));
    }
  }
  Floats expected;
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 3; ++x) {
      expected.push_back(0);
      expected.push_back(10 * (2 * y + 0.5f) + 2 * x + 0.5f);
    }
  }
  EXPECT_EQ(Encode(**encoder, {Pixels(values)}), Pixels(expected));
}

TEST_F(VisionEncoderTest, ThreeScales) {
  VisionSpec spec = PixelTower(1);
  spec.scales = {1, 2, 3};
  AddEmbedding(spec);
  EXPECT_EQ(spec.views(), 14);
  EXPECT_EQ(spec.features(), 9);
  const auto encoder = Load(spec);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const Floats got = Encode(**encoder, {Pixels(Count(0, 14))});
  const Floats expected = Pixels({0, 2.5f, 9});
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_FLOAT_EQ(got[i], expected[i]);
}

// -----------------------------------------------------------------------------------------------------------------
// projectors

TEST_F(VisionEncoderTest, PoolingAveragesSquares) {
  const VisionSpec spec = PixelTower(4);
  AddEmbedding(spec);
  ProjectorSpec projector;
  projector.pool = 2;
  const auto encoder = Load(spec, projector);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(Encode(**encoder, {Pixels(Count(0, 16)), Pixels(Count(100, 16))}),
            Pixels({2.5f, 4.5f, 10.5f, 12.5f, 102.5f, 104.5f, 110.5f, 112.5f}));
}

TEST_F(VisionEncoderTest, PoolingDropsOddEdges) {
  const VisionSpec spec = PixelTower(3);
  AddEmbedding(spec);
  ProjectorSpec projector;
  projector.pool = 2;
  const auto encoder = Load(spec, projector);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(Encode(**encoder, {Pixels(Count(0, 9)), Pixels(Count(100, 9))}), Pixels({2, 102}));
}

TEST_F(VisionEncoderTest, AProjectorActivatesBetweenItsLayers) {
  const VisionSpec spec = PixelTower(1);
  AddEmbedding(spec);
  for (const char* name : {"p.0", "p.2", "p.4"}) AddLinear(name, kIdentity, {-1, -2, 1});
  const auto gelu = [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); };
  ProjectorSpec projector;
  const double bias[] = {-1, -2, 1};
  for (const char* name : {"p.0", "p.2", "p.4"}) {
    projector.layers.push_back(name);
    const auto encoder = Load(spec, projector);
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    const Floats got = Encode(**encoder, {Pixels({1.5f})});
    for (size_t i = 0; i < 3; ++i) {
      double expected = 1.5 + 0.25 * i + bias[i];
      for (size_t layer = 1; layer < projector.layers.size(); ++layer) {
        expected = gelu(expected) + bias[i];
      }
      EXPECT_NEAR(got[i], expected, 2e-6) << name;
    }
  }
}

TEST_F(VisionEncoderTest, AProjectorWithoutBiases) {
  const VisionSpec spec = PixelTower(1);
  AddEmbedding(spec);
  AddLinear("p", {0, 0, 1, 1, 0, 0, 0, 1, 0}, {});
  ProjectorSpec projector;
  projector.layers = {"p"};
  EXPECT_EQ(Load(spec, projector).status().code(), absl::StatusCode::kNotFound);
  projector.bias = false;
  const auto encoder = Load(spec, projector);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(Encode(**encoder, {Pixels({4})}), (Floats{4.5f, 4, 4.25f}));
}

// -----------------------------------------------------------------------------------------------------------------
// tensors

TEST_F(VisionEncoderTest, WhatATowerDoesNotComputeIsNotReported) {
  const VisionSpec spec = PixelTower(1);
  AddEmbedding(spec);
  AddLayer({0, 0, 0});  // behind the selected one
  Add("t.post_layernorm.weight", {kHidden}, {1, 1, 1});
  Add("t.head.probe", {1, 1, kHidden}, {1, 1, 1});
  Add("t.head.attention.in_proj_weight", {1}, {1});
  Add("t.embeddings.position_ids", {1}, {1});
  Add("t.elsewhere", {1}, {1});
  Add("head.probe", {1}, {1});
  ASSERT_TRUE(Load(spec).ok());
  EXPECT_EQ(checkpoint_->Unused(), (std::vector<std::string>{"head.probe", "t.elsewhere"}));
}

TEST_F(VisionEncoderTest, AMissingOrMisshapenTensorIsNamed) {
  VisionSpec spec = PixelTower(2);
  AddEmbedding(spec);
  spec.patch_bias = true;
  const absl::Status missing = Load(spec).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(missing).find("t.embeddings.patch_embedding.bias"),
            std::string_view::npos)
      << missing;
  spec = PixelTower(3);
  const absl::Status shape = Load(spec).status();
  EXPECT_EQ(shape.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(shape).find("t.embeddings.position_embedding.weight"),
            std::string_view::npos)
      << shape;
}

}  // namespace
}  // namespace tessera
