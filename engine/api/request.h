// What goes into the engine and what comes out: plain values. A Request says what the caller asked;
// once it is accepted, what it left unset has the model's defaults, and nothing changes any more.
// Answers arrive at an OutputSink as Chunks, then exactly one final Status.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "engine/api/stats.h"
#include "engine/base/memory_budget.h"
#include "engine/image/image_processor.h"
#include "engine/prompt/prompt.h"

namespace tessera {

using Clock = std::chrono::steady_clock;
inline double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

struct EncodedImage {
  std::string bytes;      // a JPEG, PNG or WebP file
  std::string mime_type;  // may be empty: recognised by its first bytes
};

struct Message {
  Role role = Role::kUser;
  std::vector<std::variant<std::string, EncodedImage>> parts;
};

// A prompt as it is, with "<image>" where the images go, in order. No template is applied.
struct RawPrompt {
  std::string text;
  std::vector<EncodedImage> images;
};

// Token ids with kImagePlaceholder (-200) where the images go.
struct TokenPrompt {
  std::vector<int32_t> ids;
  std::vector<EncodedImage> images;
};

using Input = std::variant<std::vector<Message>, RawPrompt, TokenPrompt>;

// Limits are checked by CheckSampling(); what the caller leaves unset is the model's
// (GenerationDefaults), else as given here.
struct SamplingParams {
  std::optional<float> temperature;  // 0: greedy
  std::optional<int32_t> top_k;      // 0: all tokens
  std::optional<float> top_p;
  std::optional<float> min_p;  // of the best token's probability
  // over prompt and answer; Keskar et al. 2019, CTRL, §4.1
  std::optional<float> repetition_penalty;
  float presence_penalty = 0;                         // over the answer
  float frequency_penalty = 0;                        // over the answer
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id → added to its logit
  uint64_t seed = 0;
  int32_t max_tokens = 0;  // 0: as many as the context holds
  int32_t min_tokens = 0;  // before these no end token and no stop string ends the answer
  // at most 16, none empty; the answer ends before the first that appears
  std::vector<std::string> stop;
  std::vector<int32_t> stop_ids;  // beside the model's own end tokens
  bool ignore_eos = false;        // for benchmarks
  // -1: none; else the chosen token's and those of this many best ones, at most 20
  int32_t logprobs = -1;
};

// Identifies an accepted request to Engine::Cancel().
using Ticket = uint64_t;

struct Request {
  std::string id;
  Input input;
  SamplingParams sampling;
  std::optional<ImageMode> image_mode;      // the model's default when unset
  std::optional<int32_t> max_image_tokens;  // at least 1; lowers EngineOptions::max_image_tokens
  // special strings typed in texts become their tokens, as in the references
  bool parse_special_tokens = false;
  std::optional<Clock::time_point> deadline;
  Clock::time_point arrival = Clock::now();
  std::string cache_salt;  // only requests with the same salt share cached prefixes
  // What `input` holds of Engine::memory(), given back with it; null: the engine charges it.
  std::shared_ptr<MemoryCharge> memory;
};

struct TokenLogprob {
  int32_t id = 0;
  std::string bytes;  // what the token writes, maybe half a character
  float logprob = 0;  // natural, of the model's distribution before penalties and temperature
};

struct Chunk {
  // whole UTF-8 characters; may be empty while a character or a stop string is incomplete
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;                   // one per token id, when asked for
  std::vector<std::vector<TokenLogprob>> top_logprobs;  // beside them, best first
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kDeadline };

struct Usage {
  int32_t prompt_tokens = 0;  // text and image
  int32_t text_tokens = 0;
  int32_t image_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, taken from the prefix cache
  int32_t generated_tokens = 0;
  int32_t preemptions = 0;
  int32_t reduced_images = 0;  // shrunk to the request's or the engine's max_image_tokens
  // Milliseconds of each stage, as far as it came; prefill begins when the first chunk of the
  // prompt is planned, decode with the first new token.
  double queue_ms = 0;
  double preprocess_ms = 0;
  double encode_ms = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
  std::optional<double> first_token_ms = {};  // since the request's arrival
};

// What the server needs to know before the first token.
struct PromptInfo {
  std::vector<int32_t> token_ids;  // kImagePlaceholder where an image goes
  int32_t text_tokens = 0;
  int32_t image_tokens = 0;
};

struct Completion {
  absl::Status status;  // OK for kStop and kLength
  FinishReason finish_reason = FinishReason::kNone;
  Usage usage;
  std::optional<Stage> stage = {};  // in which the request ended
};

// Called by the engine's threads, never two calls at once for one request. Implementations only
// queue: they must not block and must not call the engine.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  virtual void OnAdmitted(const PromptInfo& prompt) = 0;  // at most once, before any chunk
  virtual void OnChunk(Chunk chunk) = 0;
  virtual void OnFinish(const Completion& completion) = 0;  // exactly once, last
};

}  // namespace tessera
