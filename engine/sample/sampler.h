// How the next token of one sequence is chosen. Pure: the result depends on the arguments alone;
// random samples are keyed by (seed, position), so batch mates, chunking and preemption change
// nothing.
//
// Order, as in the references' generation: repetition, presence and frequency penalties, logit
// bias, end tokens masked before min_tokens; then temperature, top-k, top-p, min-p
// (backend/sample.h). Log-probabilities are of the raw logits. Tests: sampler_test.cc (against a
// plain implementation over the sorted distribution).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/api/request.h"
#include "engine/backend/sample.h"

namespace tessera {

// INVALID_ARGUMENT naming the field ("sampling.top_p") and its value.
absl::Status CheckSampling(const SamplingParams& params, int32_t vocabulary);

struct SamplerInput {
  int32_t vocabulary = 0;           // tokens that may be sampled; padding rows of the head are not
  std::span<const int32_t> tokens;  // prompt and answer so far; kImagePlaceholder for image rows
  int32_t prompt_rows = 0;
  // what the repetition penalty counts in the place of the prompt's tokens
  std::optional<int32_t> prompt_stand_in;
  std::span<const int32_t> end_ids;  // masked before min_tokens
};

// What becomes of a row of logits.
struct RowSampling {
  SampleParams sample;
  std::vector<LogitAdjustment> adjustments;  // their `row` is not set
  bool whole = false;                        // the row is wanted on the host
};

// Whether a sample depends on the tokens before it.
bool ReadsTokenHistory(const SamplingParams& params);

// Fields of `params` that are unset change nothing: see GenerationDefaults for what a request gets.
RowSampling ResolveSampling(const SamplerInput& input, const SamplingParams& params);

struct Logprobs {
  float chosen = 0;
  std::vector<std::pair<int32_t, float>> top;  // id, log-probability; best first
};
// Of token `id` and the best `count` ones.
Logprobs LogprobsOf(std::span<const float> logits, int32_t id, int32_t count);

}  // namespace tessera
