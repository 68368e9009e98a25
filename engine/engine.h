// Start here. The engine takes Requests from any thread and runs them all on one model: an input pool tokenizes and decodes
// pictures, one engine thread plans, encodes, forwards, samples and delivers, step after step.
//
// Invariants: every accepted request gets exactly one OnFinish; all scheduler, KV and model state belongs to the engine thread;
// cancel and deadline take effect within one step, at any stage; a request that can never fit is refused, it never waits.
// Tests: tests/engine/engine_test.cc.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/generation_defaults.h"
#include "engine/memory_budget.h"
#include "engine/model/router_mode.h"
#include "engine/request.h"
#include "engine/stats.h"

namespace tessera {

// How a model is read.
struct ModelOptions {
  std::filesystem::path model_dir;
  std::filesystem::path vision_tower_dir;  // empty: the published geometry of the tower that config.json names
  std::filesystem::path base_dir;  // of an adapter release: the model it was trained on; else empty
  RouterMode router = RouterMode::kDeterministic;
  // Experts drop the tokens that the reference's drop where a config bounds their capacity. Prompts are then computed whole and no
  // prefix is reused.
  bool emulate_capacity = false;
  std::vector<std::string> served_names;  // what requests may call it; none: DefaultModelName()
};

// What bounds the engine. Every limit is a refusal with a reason or a delay, never a crash.
struct EngineOptions {
  int32_t block_size = 0;             // KV rows per block; 0: what the device reads best (Backend::BlockRows)
  int64_t kv_cache_bytes = 0;         // 0: what the device says (Backend::CacheBytes), at least one full context
  std::optional<DType> kv_dtype;      // of keys and values; unset: the activations' (Backend::CheckKvDType)
  int32_t max_running = 64;           // sequences in a step
  int32_t max_waiting = 256;          // requests queued before RESOURCE_EXHAUSTED
  int64_t max_inflight_bytes = int64_t{512} << 20;  // held for requests, from the port to the encoder (MemoryBudget)
  int32_t step_tokens = 512;          // rows per step: decoding ones first, then prefill
  double step_seconds = 0.25;         // estimated time of prefill and vision work in a step, at most; see Pace
  double stall_ratio = 1.0;           // the same relative to the time of the decoding rows beside it
  int32_t max_context = 0;            // 0: the model's own
  int64_t image_cache_bytes = int64_t{256} << 20;  // encoded pictures kept for reuse
  int32_t max_images = 16;            // per request
  int32_t max_image_tokens = 4096;    // rows that a picture of any size may take, else it is shrunk; 0: the model's own limit
  int32_t picture_threads = 0;        // that decode pictures; 0: as many as there are cores, at least two
  bool prefix_cache = true;
  std::optional<bool> plan_ahead;  // a step before the last one's tokens are known; unset: where the device works beside the host
  // Unset: kExpert for models with few experts, else kLayer (UsualRoutingTelemetry).
  std::optional<RoutingTelemetry> routing_telemetry;
};

// Facts of the loaded model, for GetModel.
struct ModelInfo {
  std::string name;          // ModelOptions::served_names[0]
  std::vector<std::string> other_names;  // that requests may call it, too
  std::string architecture;  // config.json's model_type
  std::string dtype;
  std::string device;
  int32_t max_context = 0;
  int32_t vocabulary = 0;    // tokens that prompts may hold and answers can: the tokenizer's that have a row in the head
  int32_t image_tokens = 0;  // per picture; 0: depends on its size, or none
  int64_t parameters = 0;
  int64_t active_parameters = 0;  // of the language model, used per token
  int64_t weight_bytes = 0;
  std::string weight_dtype;  // of linear layers and experts of the language model
  std::string kv_dtype;
  int64_t kv_bytes_per_token = 0;
  int32_t kv_block_size = 16;  // tokens per KV block
  int32_t max_images = 16;     // per request
  int32_t layers = 0;
  int32_t moe_layers = 0;
  int32_t experts = 0;
  int32_t experts_per_token = 0;
  bool takes_images = false;
  ImageMode image_mode = ImageMode::kPad;
  std::vector<int32_t> eos_ids;
  GenerationDefaults default_sampling;  // what requests get where they set none
  std::vector<std::string> warnings;    // told at load
};

// Identifies an accepted request to Cancel().
using Ticket = uint64_t;

// The interface that the server knows; tests of the server implement it with canned answers.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  // Accepts or refuses at once, never blocks. RESOURCE_EXHAUSTED when the queue or the byte budget is full, INVALID_ARGUMENT for
  // what can be seen without decoding, UNAVAILABLE when draining. What only decoding shows arrives at OnFinish.
  virtual absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<OutputSink> sink) = 0;
  // The request ends with kCancelled within one step. Unknown tickets are ignored.
  virtual void Cancel(Ticket ticket) = 0;
  // The same with kDeadline: its caller's clock says so before ours does.
  virtual void Expire(Ticket ticket) = 0;
  // Token counts of an input, without running it. Blocks for decoding the headers of pictures and tokenizing.
  virtual absl::StatusOr<PromptInfo> CountTokens(const Request& request) = 0;
  virtual EngineStats Stats() const = 0;
  // What requests hold is charged to it, also before they are submitted (Request::memory).
  virtual MemoryBudget& memory() = 0;
  // No new requests from now on; those accepted run on.
  virtual void Drain() = 0;
  // Ends every request still there with UNAVAILABLE / SHUTDOWN_ABORTED, then stops the threads. Implies Drain().
  virtual void Shutdown() = 0;
};

// Reads the model, lets the backend prepare for it, allocates the KV cache and runs one warm-up step. `progress` is called with (done, total) bytes of weights.
absl::StatusOr<std::unique_ptr<Engine>> StartEngine(
    std::unique_ptr<Backend> backend, const ModelOptions& model, const EngineOptions& options,
    const std::function<void(int64_t, int64_t)>& progress = nullptr);

}  // namespace tessera
