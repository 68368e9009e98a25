// Small models with random weights through the whole engine, where what is computed depends on more
// than a row's own history: nothing of that may show in the answers.
#include <gtest/gtest.h>

#include "engine/base/json_file.h"
#include "engine/base/status.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/engine.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/token_requests.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::AnswersAlone;
using testing::AnswersTogether;
using testing::ExactAnswer;
using testing::SubmitTokens;

constexpr int32_t kEndId = 256;
constexpr int32_t kTokens = 24;
constexpr int64_t kRows = 263;  // of the embedding: more than the tokenizer has

json Config(const std::string& model_type) {
  return {{"model_type", model_type},
          {"hidden_size", 64},
          {"num_hidden_layers", 3},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 4},
          {"intermediate_size", 40},
          {"max_position_embeddings", 256},
          {"eos_token_id", kEndId},
          {"moe", {{"moe_layers_idx", {0, 2}}, {"num_experts", {4, 3}}}}};
}

class TinyModelTest : public ::testing::Test {
 protected:
  void WriteModel(const json& config, int64_t rows = kRows) {
    testing::WriteTinyModel(config, rows, directory_.path());
  }
  // One more token, with an id of its own.
  void AddToken(int32_t id, const std::string& content) {
    const std::filesystem::path path = directory_.path() / "tokenizer_config.json";
    json file = ReadJsonFile(path).value();
    file["added_tokens_decoder"][std::to_string(id)] = {{"content", content}, {"special", true}};
    testing::WriteFile(path, file.dump());
  }

  std::unique_ptr<Engine> Start(const EngineOptions& options, bool emulate_capacity = false) {
    ModelOptions model;
    model.model_dir = directory_.path();
    model.emulate_capacity = emulate_capacity;
    auto engine = StartEngine(MakeCpuBackend({}).value(), model, options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
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
  const ExactAnswer first = AnswerOf(*SubmitTokens(*engine, conversation, kTokens));
  ASSERT_EQ(first.size(), size_t{kTokens});
  for (const auto& [id, logprob] : first) {
    EXPECT_LE(id, kEndId) << "rows beyond the tokenizer's are never sampled";
    conversation.push_back(id);
  }
  const auto again = SubmitTokens(*engine, conversation, kTokens);
  EXPECT_EQ(AnswerOf(*again), AnswerOf(*SubmitTokens(*Start(fresh), conversation, kTokens)));
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
  const ExactAnswer sampled = AnswerOf(*SubmitTokens(*Start({}), Prompt(40, 3), kTokens, told));
  const ExactAnswer greedy = AnswerOf(*SubmitTokens(*Start({}), Prompt(40, 3), kTokens));
  ASSERT_NE(sampled, greedy);

  testing::WriteFile(directory_.path() / "generation_config.json",
                     R"({"do_sample": true, "temperature": 1.5, "top_k": 40, "top_p": 0.9,
                         "min_p": 0.001, "repetition_penalty": 1.3})");
  const auto engine = Start({});
  EXPECT_EQ(engine->model().default_sampling, (GenerationDefaults{1.5f, 40, 0.9f, 0.001f, 1.3f}));
  EXPECT_EQ(AnswerOf(*SubmitTokens(*engine, Prompt(40, 3), kTokens)), sampled);
  SamplingParams plain;
  plain.temperature = 0;
  plain.repetition_penalty = 1;
  EXPECT_EQ(AnswerOf(*SubmitTokens(*engine, Prompt(40, 3), kTokens, plain)), greedy);
}

// The tokenizer knows 258 tokens, embedding and head have 256 rows.
TEST_F(TinyModelTest, TokensWithoutARowAreNeverDrawnAndRefusedInPrompts) {
  json config = Config("moe_llava_stablelm");
  config["vocab_size"] = 256;
  ASSERT_NO_FATAL_FAILURE(WriteModel(config, 256));
  AddToken(257, "<more>");
  const auto engine = Start({});
  const ModelInfo& model = engine->model();
  EXPECT_EQ(model.vocabulary, 256);
  ASSERT_FALSE(model.warnings.empty());
  EXPECT_NE(
      model.warnings.back().find("the tokenizer has 258 tokens, but \"lm_head.weight\" only 256"),
      std::string::npos)
      << model.warnings.back();
  SamplingParams wild;
  wild.temperature = 100;
  const auto answer = AnswerOf(*SubmitTokens(*engine, Prompt(40, 3), kTokens, wild));
  ASSERT_EQ(answer.size(), size_t{kTokens});
  for (const auto& [id, logprob] : answer) EXPECT_LT(id, 256);

  const auto refused = [&](Input input) {
    Request request;
    request.input = std::move(input);
    request.parse_special_tokens = true;
    return engine->CountTokens(request).status();
  };
  EXPECT_TRUE(refused(RawPrompt{"plain", {}}).ok());
  const absl::Status text = refused(RawPrompt{"a <more> b", {}});
  EXPECT_EQ(text.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusField(text), "raw_prompt.text");
  EXPECT_NE(
      StatusMessage(text).find("holds token 257 (\"<more>\"), for which the model has no row"),
      std::string::npos)
      << text;
  const absl::Status ids = refused(TokenPrompt{{1, 257}, {}});
  EXPECT_EQ(ids.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(StatusField(ids).starts_with("token_prompt.ids")) << ids;
}

TEST_F(TinyModelTest, AVocabularyThatCannotBeDrawnFromIsRefusedAtTheStart) {
  json config = Config("moe_llava_stablelm");
  config["hidden_size"] = 8;
  ASSERT_NO_FATAL_FAILURE(WriteModel(config, (1 << 19) + 2));
  AddToken(1 << 19, "<far>");
  ModelOptions model;
  model.model_dir = directory_.path();
  const auto engine = StartEngine(MakeCpuBackend({}).value(), model, {});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(engine.status())
                .find("a vocabulary of 524289 tokens; at most 524288 are served"),
            std::string::npos)
      << engine.status();
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
  const auto engine = Start({}, true);
  const std::vector<ExactAnswer> alone = AnswersAlone(*engine, prompts, kTokens);
  EXPECT_EQ(AnswersTogether(*engine, prompts, kTokens), alone);
  const auto again = SubmitTokens(*engine, prompts[0], kTokens);
  EXPECT_EQ(AnswerOf(*again), alone[0]);
  EXPECT_EQ(again->completion().usage.cached_tokens, 0);

  EngineOptions small;
  small.step_tokens = 16;  // less than any prompt
  EXPECT_EQ(AnswersTogether(*Start(small, true), prompts, kTokens), alone);
  EngineOptions tight;
  tight.kv_cache_bytes = engine->model().kv_bytes_per_token * 16 * 16;
  const auto preempting = Start(tight, true);
  // Whether they meet in the cache depends on when each is prepared.
  for (int round = 0; round < 50 && preempting->Stats().preemptions == 0; ++round) {
    EXPECT_EQ(AnswersTogether(*preempting, prompts, kTokens), alone);
  }
  EXPECT_GT(preempting->Stats().preemptions, 0u);

  EXPECT_NE(AnswersTogether(*Start({}, false), prompts, kTokens), alone)
      << "something is dropped only when asked for";
}

}  // namespace
}  // namespace tessera
