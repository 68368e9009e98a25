#include "tests/testing/token_requests.h"

#include <gtest/gtest.h>

#include "engine/model/arch/architectures.h"
#include "tests/testing/tiny_decoder.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera::testing {

void WriteTinyModel(const nlohmann::json& config, int64_t rows,
                    const std::filesystem::path& directory) {
  nlohmann::json with_rows = config;
  with_rows["vocab_size"] = rows;
  WriteFile(directory / "config.json", with_rows.dump());
  TokenizerFiles tokenizer = TokenizerFiles::Make("CodeGenTokenizer", {});
  tokenizer.AddToken("<|endoftext|>", true);
  tokenizer.WriteSlow(directory);
  const auto spec = ReadModelSpec({directory});
  ASSERT_TRUE(spec.ok()) << spec.status();
  TinyDecoder(spec->decoder, rows).Write(directory);
}

std::shared_ptr<CollectingSink> SubmitTokens(Engine& engine, std::vector<int32_t> ids,
                                             int32_t max_tokens, SamplingParams sampling) {
  Request request;
  request.input = TokenPrompt{std::move(ids), {}};
  request.sampling = std::move(sampling);
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 0;
  auto sink = std::make_shared<CollectingSink>();
  EXPECT_TRUE(engine.Submit(request, sink).ok());
  return sink;
}

ExactAnswer AnswerOf(CollectingSink& sink) {
  sink.Wait();
  EXPECT_TRUE(sink.completion().status.ok()) << sink.completion().status;
  return sink.token_logprobs();
}

std::vector<ExactAnswer> AnswersTogether(Engine& engine,
                                         const std::vector<std::vector<int32_t>>& prompts,
                                         int32_t max_tokens) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const auto& prompt : prompts) sinks.push_back(SubmitTokens(engine, prompt, max_tokens));
  std::vector<ExactAnswer> answers;
  for (const auto& sink : sinks) answers.push_back(AnswerOf(*sink));
  return answers;
}

std::vector<ExactAnswer> AnswersAlone(Engine& engine,
                                      const std::vector<std::vector<int32_t>>& prompts,
                                      int32_t max_tokens) {
  std::vector<ExactAnswer> answers;
  for (const auto& prompt : prompts) {
    answers.push_back(AnswerOf(*SubmitTokens(engine, prompt, max_tokens)));
  }
  return answers;
}

}  // namespace tessera::testing
