// A small model on disk whose prompts are token ids, and what requests get from it to the last bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/testing/collecting_sink.h"

namespace tessera::testing {

// Writes `config` as config.json, a tokenizer of the 256 bytes and <|endoftext|> (id 256), and
// random weights with `rows` rows of the embedding.
void WriteTinyModel(const nlohmann::json& config, int64_t rows,
                    const std::filesystem::path& directory);

// Every token of an answer with its log-probability: equal only where the logits are.
using ExactAnswer = std::vector<std::pair<int32_t, float>>;

// Asks for `max_tokens` tokens after the prompt `ids`, past any end-of-sequence token.
std::shared_ptr<CollectingSink> SubmitTokens(Engine& engine, std::vector<int32_t> ids,
                                             int32_t max_tokens, SamplingParams sampling = {});

// Waits for the end, which is to be a good one.
ExactAnswer AnswerOf(CollectingSink& sink);

// The answers to all prompts, submitted at once.
std::vector<ExactAnswer> AnswersTogether(Engine& engine,
                                         const std::vector<std::vector<int32_t>>& prompts,
                                         int32_t max_tokens);
// … and one after the other.
std::vector<ExactAnswer> AnswersAlone(Engine& engine,
                                      const std::vector<std::vector<int32_t>>& prompts,
                                      int32_t max_tokens);

}  // namespace tessera::testing
