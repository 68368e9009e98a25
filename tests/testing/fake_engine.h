// An engine without a model: answers every request as its script says, on a thread per request, and
// remembers what it was asked.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace tessera::testing {

// How one request is answered.
struct Script {
  PromptInfo prompt{.token_ids = {1, kImageId, 2}, .text_tokens = 2, .image_tokens = 4};
  std::vector<Chunk> chunks;
  Completion completion{
      .status = absl::OkStatus(), .finish_reason = FinishReason::kStop, .usage = {}};
  bool admit = true;  // else no OnAdmitted and no chunks
  std::chrono::milliseconds before_prompt{0};
  std::chrono::milliseconds between_chunks{0};
  bool heeds_deadline = true;  // else only Cancel(), Expire() and Shutdown() end it early
  bool stay = false;           // after the chunks, until the request is cancelled, late or aborted

  static constexpr int32_t kImageId = -200;
};

// One chunk per character of `text`, with token ids 0, 1, 2 …
Script Spell(const std::string& text);
// The same, then nothing until the request is cancelled, late or aborted.
Script SpellAndStay(const std::string& text);

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(int64_t max_memory = int64_t{512} << 20);
  ~FakeEngine() override;

  // For the requests from now on.
  void SetScript(Script script);
  void SetRefusal(absl::Status status);
  void SetCount(absl::StatusOr<PromptInfo> count);
  // Counting takes so long.
  void SetCountTime(std::chrono::milliseconds time);
  void ChangeStats(const std::function<void(EngineStats&)>& change);
  ModelInfo& mutable_model() { return model_; }  // before the first request

  // Without their memory, which is given back when they end.
  std::vector<Request> requests() const;
  size_t cancels() const;
  // Requests ended so far with this reason, waited for up to ten seconds.
  bool WaitForFinish(FinishReason reason, int count = 1) const;
  bool WaitForRequests(size_t count) const;
  // The longest that a sink held up the engine.
  std::chrono::duration<double> longest_call() const;

  const ModelInfo& model() const override { return model_; }
  absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<OutputSink> sink) override;
  void Cancel(Ticket ticket) override { End(ticket, FinishReason::kCancelled); }
  void Expire(Ticket ticket) override { End(ticket, FinishReason::kDeadline); }
  absl::StatusOr<PromptInfo> CountTokens(const Request& request) override;
  EngineStats Stats() const override;
  MemoryBudget& memory() override { return memory_; }
  void Drain() override;
  void Shutdown() override;

 private:
  void End(Ticket ticket, FinishReason reason);
  void Run(Ticket ticket, Request request, Script script, std::shared_ptr<OutputSink> sink);
  // Sleeps; false when the request is to end now, with the completion that says why.
  bool Sleep(Ticket ticket, const Request& request, std::chrono::milliseconds time,
             Completion& completion);
  void Measure(const std::function<void()>& call);

  ModelInfo model_;
  MemoryBudget memory_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  // Guarded by mutex_:
  Script script_;
  absl::Status refusal_;
  absl::StatusOr<PromptInfo> count_;
  std::chrono::milliseconds count_time_{0};
  EngineStats stats_;
  std::vector<Request> requests_;
  std::map<Ticket, FinishReason> cancelled_;
  std::map<FinishReason, int> finished_;
  std::chrono::duration<double> longest_call_{0};
  std::vector<std::thread> threads_;
  bool draining_ = false;
  bool shutdown_ = false;
};

}  // namespace tessera::testing
