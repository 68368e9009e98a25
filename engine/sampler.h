// Chooses the next token of one sequence from its logits. Pure: the result depends on the arguments alone; random draws are keyed by
// (seed, position), so batch mates, chunking and preemption change nothing.
//
// Order, as in the references' generation: log-probabilities are taken of the raw logits; then repetition, presence and frequency
// penalties, logit bias, end tokens barred before min_tokens, temperature, top-k, top-p, min-p.
// Tests: sampler_test.cc (against a plain implementation over the sorted distribution).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/request.h"

namespace tessera {

// INVALID_ARGUMENT naming the field ("sampling.top_p") and its value.
absl::Status CheckSampling(const SamplingParams& params, int32_t vocabulary);

struct SamplerInput {
  std::span<const float> logits;    // of the rows in use; padding rows are left out
  std::span<const int32_t> tokens;  // prompt and answer so far; kImagePlaceholder for image rows
  int32_t prompt_rows = 0;
  std::optional<int32_t> prompt_stand_in;  // what the repetition penalty counts in the place of the prompt's tokens
  std::span<const int32_t> end_ids;  // barred before min_tokens
};

struct SampledToken {
  int32_t id = 0;
  // Filled when params.logprobs >= 0.
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // id, log-probability; best first
};

// Whether SampleToken() after `generated` tokens of an answer is the token of the largest logit and nothing else, whatever the logits.
bool TakesLargest(const SamplingParams& params, int64_t generated);

// Fields of `params` that are unset change nothing: see GenerationDefaults for what a request gets.
SampledToken SampleToken(const SamplerInput& input, const SamplingParams& params);

}  // namespace tessera
