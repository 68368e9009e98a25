// Start here. The engine takes Requests from any thread and runs them all on one model: an input
// pool tokenizes and decodes images, one engine thread plans, encodes, forwards, samples and
// delivers, step after step.
//
// Invariants: every accepted request gets exactly one OnFinish; all scheduler, KV and model state
// belongs to the engine thread; cancel and deadline take effect within one step, at any stage; a
// request that can never fit is refused, it never waits. Tests: tests/engine/engine_test.cc.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/api/options.h"
#include "engine/api/request.h"
#include "engine/api/stats.h"
#include "engine/backend/backend.h"
#include "engine/base/memory_budget.h"

namespace tessera {

// The interface that the server knows; tests of the server implement it with canned answers.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  // Accepts or refuses at once, never blocks. RESOURCE_EXHAUSTED when the queue or the byte budget
  // is full, INVALID_ARGUMENT for what can be seen without decoding, UNAVAILABLE when draining.
  // What only decoding shows arrives at OnFinish.
  virtual absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<OutputSink> sink) = 0;
  // The request ends with kCancelled within one step. Unknown tickets are ignored.
  virtual void Cancel(Ticket ticket) = 0;
  // The same with kDeadline: its caller's clock says so before ours does.
  virtual void Expire(Ticket ticket) = 0;
  // Token counts of an input, without running it. Blocks for decoding the headers of images and
  // tokenizing.
  virtual absl::StatusOr<PromptInfo> CountTokens(const Request& request) = 0;
  virtual EngineStats Stats() const = 0;
  // What requests hold is charged to it, also before they are submitted (Request::memory).
  virtual MemoryBudget& memory() = 0;
  // No new requests from now on; those accepted run on.
  virtual void Drain() = 0;
  // Ends every request still there with UNAVAILABLE / SHUTDOWN_ABORTED, then stops the threads.
  // Implies Drain().
  virtual void Shutdown() = 0;
};

// Reads the model, lets the backend prepare for it, allocates the KV cache and runs one warm-up
// step. `progress` is called with (done, total) bytes of weights.
absl::StatusOr<std::unique_ptr<Engine>> StartEngine(
    std::unique_ptr<Backend> backend, const ModelOptions& model, const EngineOptions& options,
    const std::function<void(int64_t, int64_t)>& progress = nullptr);

}  // namespace tessera
