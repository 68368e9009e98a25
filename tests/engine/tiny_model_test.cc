// Small models with random weights through the whole engine, where what is computed depends on more
// than a row's own history: nothing of that may show in the answers.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/model/architectures.h"
#include "tests/testing/collecting_sink.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tiny_decoder.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr int32_t kEndId = 256;
constexpr int64_t kRows = 263;  // of the embedding: more than the tokenizer has

json Config(const std::string& model_type) {
  return {
      {"model_type", model_type}, {"hidden_size", 48},
      {"num_hidden_layers", 3},   {"num_attention_heads", 4},
      {"intermediate_size", 40},  {"max_position_embeddings", 256},
      {"eos_token_id", kEndId},   {"moe", {{"moe_layers_idx", {0, 2}}, {"num_experts", {4, 3}}}}};
}

// Every token of an answer with its log-probability: equal only where the logits are.
using Answer = std::vector<std::pair<int32_t, float>>;

class TinyModelTest : public ::testing::Test {
 protected:
  void WriteModel(const json& config) {
    testing::WriteFile(directory_.path() / "config.json", config.dump());
    testing::TokenizerFiles tokenizer = testing::TokenizerFiles::Make("CodeGenTokenizer", {});
    tokenizer.AddToken("<|endoftext|>", true);
    tokenizer.WriteSlow(directory_.path());
    const auto spec = ReadModelSpec({directory_.path()});
    ASSERT_TRUE(spec.ok()) << spec.status();
    testing::TinyDecoder(spec->decoder, kRows).Write(directory_.path());
  }

  std::unique_ptr<Engine> Start(const EngineOptions& options, bool emulate_capacity = false) {
    ModelOptions model;
    model.model_dir = directory_.path();
    model.emulate_capacity = emulate_capacity;
    auto engine = StartEngine(MakeCpuBackend({}).value(), model, options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  static std::shared_ptr<testing::CollectingSink> Submit(Engine& engine, std::vector<int32_t> ids,
                                                         int32_t max_tokens = 24,
                                                         const SamplingParams& sampling = {}) {
    Request request;
    request.sampling = sampling;
    request.input = TokenPrompt{std::move(ids), {}};
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
    request.sampling.logprobs = 0;
    auto sink = std::make_shared<testing::CollectingSink>();
    EXPECT_TRUE(engine.Submit(request, sink).ok());
    return sink;
  }

  static Answer AnswerOf(testing::CollectingSink& sink) {
    sink.Wait();
    EXPECT_TRUE(sink.completion().status.ok()) << sink.completion().status;
    return sink.token_logprobs();
  }

  testing::TemporaryDirectory directory_;
};

std::vector<int32_t> Prompt(int32_t rows, int32_t seed) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < rows; ++i) ids.push_back((i * i * 5 + i * seed + seed) % 256);
  return ids;
}

TEST_F(TinyModelTest, AnAnswerThatSawMoreThanAPromptWouldIsNotReusedByOne) {
  json config = Config("moe_llava_mistral");
  config["sliding_window"] = 7;
  ASSERT_NO_FATAL_FAILURE(WriteModel(config));
  EngineOptions fresh;
  fresh.prefix_cache = false;
  const auto engine = Start({});
  std::vector<int32_t> conversation = Prompt(40, 3);
  const Answer first = AnswerOf(*Submit(*engine, conversation));
  ASSERT_EQ(first.size(), 24u);
  for (const auto& [id, logprob] : first) {
    EXPECT_LE(id, kEndId) << "rows beyond the tokenizer's are never sampled";
    conversation.push_back(id);
  }
  const auto again = Submit(*engine, conversation);
  EXPECT_EQ(AnswerOf(*again), AnswerOf(*Submit(*Start(fresh), conversation)));
  EXPECT_EQ(again->completion().usage.cached_tokens, 32) << "the blocks of the first prompt alone";
}

TEST_F(TinyModelTest, RequestsGetTheModelsSamplingWhereTheySetNone) {
  ASSERT_NO_FATAL_FAILURE(WriteModel(Config("moe_llava_stablelm")));
  SamplingParams told;
  told.temperature = 1.5f;
  told.top_k = 40;
  told.top_p = 0.9f;
  told.min_p = 0.001f;
  told.repetition_penalty = 1.3f;
  const Answer sampled = AnswerOf(*Submit(*Start({}), Prompt(40, 3), 24, told));
  const Answer greedy = AnswerOf(*Submit(*Start({}), Prompt(40, 3)));
  ASSERT_NE(sampled, greedy);

  testing::WriteFile(directory_.path() / "generation_config.json",
                     R"({"do_sample": true, "temperature": 1.5, "top_k": 40, "top_p": 0.9,
                         "min_p": 0.001, "repetition_penalty": 1.3})");
  const auto engine = Start({});
  EXPECT_EQ(engine->model().default_sampling, (GenerationDefaults{1.5f, 40, 0.9f, 0.001f, 1.3f}));
  EXPECT_EQ(AnswerOf(*Submit(*engine, Prompt(40, 3))), sampled);
  SamplingParams plain;
  plain.temperature = 0;
  plain.repetition_penalty = 1;
  EXPECT_EQ(AnswerOf(*Submit(*engine, Prompt(40, 3), 24, plain)), greedy);
}

TEST_F(TinyModelTest, ADefaultOutOfRangeEndsTheStart) {
  ASSERT_NO_FATAL_FAILURE(WriteModel(Config("moe_llava_stablelm")));
  const std::filesystem::path file = directory_.path() / "generation_config.json";
  testing::WriteFile(file, R"({"top_k": -1})");
  ModelOptions model;
  model.model_dir = directory_.path();
  const auto engine = StartEngine(MakeCpuBackend({}).value(), model, {});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine.status().message(),
            file.string() + ": \"top_k\" -1: must be an integer from 0 to 2147483647");
}

TEST_F(TinyModelTest, CapacityIsPerSequenceHoweverRequestsAreRun) {
  json config = Config("moe_llava_stablelm");
  config["moe"]["eval_capacity_factor"] = 0.6;
  config["moe"]["min_capacity"] = 1;
  ASSERT_NO_FATAL_FAILURE(WriteModel(config));
  std::vector<std::vector<int32_t>> prompts;
  for (int32_t i = 0; i < 6; ++i) prompts.push_back(Prompt(70 + 9 * i, i));
  const auto run_together = [&](Engine& engine) {
    std::vector<std::shared_ptr<testing::CollectingSink>> sinks;
    for (const auto& prompt : prompts) sinks.push_back(Submit(engine, prompt));
    std::vector<Answer> answers;
    for (const auto& sink : sinks) answers.push_back(AnswerOf(*sink));
    return answers;
  };
  std::vector<Answer> alone;
  const auto engine = Start({}, true);
  for (const auto& prompt : prompts) alone.push_back(AnswerOf(*Submit(*engine, prompt)));
  EXPECT_EQ(run_together(*engine), alone);
  const auto again = Submit(*engine, prompts[0]);
  EXPECT_EQ(AnswerOf(*again), alone[0]);
  EXPECT_EQ(again->completion().usage.cached_tokens, 0);

  EngineOptions small;
  small.step_tokens = 16;  // less than any prompt
  EXPECT_EQ(run_together(*Start(small, true)), alone);
  EngineOptions tight;
  tight.kv_cache_bytes = engine->model().kv_bytes_per_token * 16 * 16;
  const auto preempting = Start(tight, true);
  EXPECT_EQ(run_together(*preempting), alone);
  EXPECT_GT(preempting->Stats().preemptions, 0u);

  EXPECT_NE(run_together(*Start({}, false)), alone) << "something is dropped only when asked for";
}

}  // namespace
}  // namespace tessera
