#include "tests/testing/fake_engine.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace tessera::testing {
namespace {

constexpr std::chrono::seconds kPatience(10);
constexpr std::chrono::milliseconds kForever(std::chrono::hours(1));

}  // namespace

Script Spell(const std::string& text) {
  Script script;
  for (const char c : text) {
    Chunk chunk;
    chunk.text = std::string(1, c);
    chunk.token_ids = {static_cast<int32_t>(script.chunks.size())};
    script.chunks.push_back(std::move(chunk));
  }
  script.completion.usage.prompt_tokens = 6;
  script.completion.usage.text_tokens = 2;
  script.completion.usage.image_tokens = 4;
  script.completion.usage.generated_tokens = static_cast<int32_t>(text.size());
  return script;
}

Script SpellAndStay(const std::string& text) {
  Script script = Spell(text);
  script.stay = true;
  return script;
}

FakeEngine::FakeEngine(int64_t max_memory)
    : memory_(max_memory), script_(Spell("hello")), count_(script_.prompt) {
  model_.name = "fake";
  model_.architecture = "fake_moe";
  model_.dtype = "float32";
  model_.kv_dtype = "float32";
  model_.device = "cpu";
  model_.max_context = 2048;
  model_.vocabulary = 1000;
  model_.image_tokens = 4;
  model_.kv_block_size = 16;
  model_.max_images = 16;
  model_.takes_images = true;
  model_.moe_layers = 2;
  model_.experts = 4;
  stats_.kv_blocks_total = 128;
  stats_.experts = 4;
  stats_.moe_layer_index = {1, 3};
  stats_.layer_experts = {4, 3};
  stats_.layer_tokens.assign(2 * 2, 0);
  stats_.busiest_tokens.assign(2, 0);
  stats_.expert_tokens.assign(2 * 4 * 2, 0);
}

FakeEngine::~FakeEngine() { Shutdown(); }

void FakeEngine::SetScript(Script script) {
  const std::lock_guard lock(mutex_);
  script_ = std::move(script);
}

void FakeEngine::SetRefusal(absl::Status status) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(status);
}

void FakeEngine::SetCount(absl::StatusOr<PromptInfo> count) {
  const std::lock_guard lock(mutex_);
  count_ = std::move(count);
}

void FakeEngine::SetCountTime(std::chrono::milliseconds time) {
  const std::lock_guard lock(mutex_);
  count_time_ = time;
}

void FakeEngine::ChangeStats(const std::function<void(EngineStats&)>& change) {
  const std::lock_guard lock(mutex_);
  change(stats_);
}

std::vector<Request> FakeEngine::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

size_t FakeEngine::cancels() const {
  const std::lock_guard lock(mutex_);
  return cancelled_.size();
}

bool FakeEngine::WaitForFinish(FinishReason reason, int count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] {
    const auto found = finished_.find(reason);
    return found != finished_.end() && found->second >= count;
  });
}

bool FakeEngine::WaitForRequests(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return requests_.size() >= count; });
}

std::chrono::duration<double> FakeEngine::longest_call() const {
  const std::lock_guard lock(mutex_);
  return longest_call_;
}

absl::StatusOr<Ticket> FakeEngine::Submit(Request request, std::shared_ptr<OutputSink> sink) {
  const std::lock_guard lock(mutex_);
  if (draining_) {
    return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kDraining, "", "draining");
  }
  if (!refusal_.ok()) return refusal_;
  requests_.push_back(request);
  requests_.back().memory.reset();
  const Ticket ticket = requests_.size();
  ++stats_.running;
  threads_.emplace_back(&FakeEngine::Run, this, ticket, std::move(request), script_,
                        std::move(sink));
  changed_.notify_all();
  return ticket;
}

void FakeEngine::End(Ticket ticket, FinishReason reason) {
  const std::lock_guard lock(mutex_);
  cancelled_.emplace(ticket, reason);
  changed_.notify_all();
}

bool FakeEngine::Sleep(Ticket ticket, const Request& request, std::chrono::milliseconds time,
                       Completion& completion) {
  std::unique_lock lock(mutex_);
  auto until = Clock::now() + time;
  if (request.deadline) until = std::min(until, *request.deadline);
  changed_.wait_until(lock, until, [&] { return shutdown_ || cancelled_.contains(ticket); });
  if (shutdown_) {
    completion.status = RequestError(absl::StatusCode::kUnavailable, ErrorReason::kShutdownAborted,
                                     "", "the server stopped");
    completion.finish_reason = FinishReason::kNone;
    return false;
  }
  if (const auto ended = cancelled_.find(ticket); ended != cancelled_.end()) {
    const bool late = ended->second == FinishReason::kDeadline;
    completion.status = late ? absl::OkStatus() : absl::CancelledError("cancelled");
    completion.finish_reason = ended->second;
    return false;
  }
  if (request.deadline && Clock::now() >= *request.deadline) {
    completion.status = absl::OkStatus();
    completion.finish_reason = FinishReason::kDeadline;
    return false;
  }
  return true;
}

void FakeEngine::Measure(const std::function<void()>& call) {
  const auto start = Clock::now();
  call();
  const std::chrono::duration<double> time = Clock::now() - start;
  const std::lock_guard lock(mutex_);
  longest_call_ = std::max(longest_call_, time);
}

void FakeEngine::Run(Ticket ticket, Request request, Script script,
                     std::shared_ptr<OutputSink> sink) {
  if (!script.heeds_deadline) request.deadline.reset();
  Completion completion = script.completion;
  bool going = Sleep(ticket, request, script.before_prompt, completion);
  if (going && script.admit) {
    Measure([&] { sink->OnAdmitted(script.prompt); });
    for (size_t i = 0; going && i < script.chunks.size(); ++i) {
      Measure([&] { sink->OnChunk(script.chunks[i]); });
      going = Sleep(ticket, request, script.between_chunks, completion);
    }
  }
  if (going && script.stay) Sleep(ticket, request, kForever, completion);
  sink->OnFinish(completion);
  sink.reset();
  const std::lock_guard lock(mutex_);
  --stats_.running;
  ++finished_[completion.finish_reason];
  changed_.notify_all();
}

absl::StatusOr<PromptInfo> FakeEngine::CountTokens(const Request& request) {
  std::unique_lock lock(mutex_);
  requests_.push_back(request);
  requests_.back().memory.reset();
  changed_.notify_all();
  changed_.wait_for(lock, count_time_, [this] { return shutdown_; });
  return count_;
}

EngineStats FakeEngine::Stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void FakeEngine::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void FakeEngine::Shutdown() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    shutdown_ = true;
    changed_.notify_all();
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tessera::testing
