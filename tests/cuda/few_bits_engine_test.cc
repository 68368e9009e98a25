// A small model whose weights or KV cache have few bits through the whole engine, on the CUDA
// backend: what a request gets does not depend on how it is run.
#include <gtest/gtest.h>

#include "cuda/make_cuda_backend.h"
#include "engine/engine.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/token_requests.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::AnswersAlone;
using testing::AnswersTogether;
using testing::ExactAnswer;
using testing::SubmitTokens;

constexpr int32_t kBlock = 16;
constexpr int32_t kTokens = 6;

struct FewBits {
  const char* name;
  WeightFormat weights = WeightFormat::kActivations;
  std::optional<DType> kv = std::nullopt;
  float cost = 0;  // of the best token's log-probability, at most
};

class FewBitsEngineTest : public ::testing::TestWithParam<FewBits> {
 protected:
  void SetUp() override {
    const json config = {{"model_type", "moe_llava_stablelm"},
                         {"hidden_size", 32},
                         {"num_hidden_layers", 2},
                         {"num_attention_heads", 2},
                         {"num_key_value_heads", 2},
                         {"intermediate_size", 32},
                         {"max_position_embeddings", 128},
                         {"eos_token_id", 256},
                         {"moe", {{"moe_layers_idx", {0}}, {"num_experts", {2}}}}};
    ASSERT_NO_FATAL_FAILURE(testing::WriteTinyModel(config, 260, directory_.path()));
    for (int32_t p = 0; p < 3; ++p) {
      prompts_.emplace_back();
      for (int32_t i = 0; i < 30 + 2 * p; ++i) prompts_[p].push_back((i * i * 5 + i * p + p) % 256);
    }
  }

  std::unique_ptr<Engine> Start(EngineOptions options, const FewBits& few = GetParam()) {
    ModelOptions model;
    model.model_dir = directory_.path();
    options.block_size = kBlock;
    options.kv_dtype = few.kv;
    auto engine =
        StartEngine(MakeCudaBackend(DType::kBFloat16, few.weights).value(), model, options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  testing::TemporaryDirectory directory_;
  std::vector<std::vector<int32_t>> prompts_;
};

TEST_P(FewBitsEngineTest, AnswersDoNotDependOnHowRequestsAreRun) {
  const auto engine = Start({});
  const std::vector<ExactAnswer> alone = AnswersAlone(*engine, prompts_, kTokens);
  const auto again = SubmitTokens(*engine, prompts_[1], kTokens);
  EXPECT_EQ(AnswerOf(*again), alone[1]);
  EXPECT_GT(again->completion().usage.cached_tokens, 0);

  EngineOptions chunked;
  chunked.step_tokens = 12;
  EXPECT_EQ(AnswersTogether(*Start(chunked), prompts_, kTokens), alone);
  EngineOptions tight;
  tight.prefix_cache = false;
  tight.kv_cache_bytes = 7 * kBlock * engine->model().kv_bytes_per_token;
  const auto preempting = Start(tight);
  // Only requests that meet there get in each other's way.
  for (int i = 0; i < 20 && preempting->Stats().preemptions == 0; ++i) {
    EXPECT_EQ(AnswersTogether(*preempting, prompts_, kTokens), alone);
  }
  EXPECT_GT(preempting->Stats().preemptions, 0u);
}

TEST_P(FewBitsEngineTest, AnswersAreCloseToThoseOf16Bits) {
  const ExactAnswer expected = AnswerOf(*SubmitTokens(*Start({}, {}), prompts_[0], kTokens));
  const auto engine = Start({});
  const ExactAnswer got = AnswerOf(*SubmitTokens(*engine, prompts_[0], kTokens));
  if (GetParam().weights != WeightFormat::kInt4) {
    EXPECT_EQ(got[0].first, expected[0].first);
  }
  EXPECT_NE(got[0].second, expected[0].second);
  EXPECT_NEAR(got[0].second, expected[0].second, GetParam().cost);
}

TEST_P(FewBitsEngineTest, TheModelTellsThem) {
  const auto engine = Start({});
  const bool few_kv = GetParam().kv.has_value();
  EXPECT_EQ(engine->model().kv_dtype, few_kv ? "fp8" : "bfloat16");
  EXPECT_EQ(engine->model().kv_bytes_per_token, 2 * 2 * 2 * (few_kv ? 16 + 4 : 16 * 2));
  const std::string weights = WeightFormatName(GetParam().weights);
  EXPECT_EQ(engine->model().weight_dtype, weights.empty() ? "bfloat16" : weights);
}

INSTANTIATE_TEST_SUITE_P(
    All, FewBitsEngineTest,
    ::testing::Values(FewBits{.name = "Float8Kv", .kv = DType::kFloat8, .cost = 0.1f},
                      FewBits{
                          .name = "Float8Weights", .weights = WeightFormat::kFloat8, .cost = 0.1f},
                      FewBits{.name = "W8A8", .weights = WeightFormat::kFloat8W8A8, .cost = 0.2f},
                      FewBits{.name = "Int8Weights", .weights = WeightFormat::kInt8, .cost = 0.1f},
                      FewBits{.name = "Int4WeightsFloat8Kv",
                              .weights = WeightFormat::kInt4,
                              .kv = DType::kFloat8,
                              .cost = 0.5f}),
    [](const auto& info) { return info.param.name; });

TEST(FewBitsRefusedTest, KvOf8BitsWithFloat32Activations) {
  ModelOptions model;
  model.model_dir = testing::DataPath("golden/models/moe_llava_phi/model");
  model.vision_tower_dir = testing::DataPath("golden/models/moe_llava_phi/vision_tower");
  EngineOptions options;
  options.kv_dtype = DType::kFloat8;
  const auto engine = StartEngine(MakeCudaBackend(DType::kFloat32).value(), model, options);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine.status().message(),
            "a KV cache in fp8 needs activations in bfloat16 or float16, not float32; use --dtype "
            "bfloat16");
}

}  // namespace
}  // namespace tessera
