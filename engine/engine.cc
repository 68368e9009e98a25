#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "engine/base/status.h"
#include "engine/load/generation_config.h"
#include "engine/load/loaded_model.h"
#include "engine/load/option_check.h"
#include "engine/model/kv_cache.h"
#include "engine/prepare/admission_gate.h"
#include "engine/prepare/input_pool.h"
#include "engine/request/inbox.h"
#include "engine/sample/sampler.h"
#include "engine/step/routing_counts.h"
#include "engine/step/step_loop.h"
#include "engine/step/telemetry.h"

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kHeartbeat(500);

absl::Status ShutdownStatus() {
  return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kShutdownAborted, "",
                      "the server shut down before the answer was complete");
}

class ModelEngine final : public Engine {
 public:
  // `secondary_stream`: the vision encoder's; null where it has the decoder's.
  ModelEngine(std::unique_ptr<Backend> backend, std::unique_ptr<Backend> secondary_stream,
              std::unique_ptr<LoadedModel> model, const EngineOptions& options)
      : backend_(std::move(backend)),
        secondary_stream_(std::move(secondary_stream)),
        model_(std::move(model)),
        options_(options),
        preparer_(*model_->tokenizer, model_->spec.prompt_format, model_->image_format(),
                  {options.max_images,
                   {},
                   model_->info.max_context,
                   options.max_image_tokens,
                   model_->info.vocabulary}),
        memory_(options.max_inflight_bytes),
        gate_(options.max_waiting),
        pool_(preparer_, memory_, inbox_),
        telemetry_(options.routing_telemetry.value_or(
                       UsualRoutingTelemetry(model_->info.moe_layers, model_->info.experts)),
                   model_->spec.decoder.experts) {}

  ~ModelEngine() override { Shutdown(); }

  absl::Status Start(const ModelOptions& model_options) {
    Backend& vision_backend = secondary_stream_ == nullptr ? *backend_ : *secondary_stream_;
    ASSIGN_OR_RETURN(loop_, StepLoop::Create(*backend_, vision_backend, *model_, model_options,
                                             options_, gate_, pool_, telemetry_));
    RETURN_IF_ERROR(loop_->WarmUp());
    loop_->PublishGauges();
    pool_.Start(loop_->row_limits(), options_.image_threads);
    thread_ = std::jthread([this] { Run(); });
    return absl::OkStatus();
  }

  const ModelInfo& model() const override { return model_->info; }
  absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<OutputSink> sink) override;
  void Cancel(Ticket ticket) override { End(ticket, FinishReason::kCancelled); }
  void Expire(Ticket ticket) override { End(ticket, FinishReason::kDeadline); }
  absl::StatusOr<PromptInfo> CountTokens(const Request& request) override;
  EngineStats Stats() const override;
  MemoryBudget& memory() override { return memory_; }
  void Drain() override { gate_.Close(); }
  void Shutdown() override;

 private:
  void Run();
  void End(Ticket ticket, FinishReason reason);
  absl::StatusOr<std::shared_ptr<LiveRequest>> Accept(Request request,
                                                      std::shared_ptr<OutputSink> sink);

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> secondary_stream_;
  std::unique_ptr<LoadedModel> model_;
  const EngineOptions options_;
  Preparer preparer_;
  MemoryBudget memory_;  // outlives all requests
  AdmissionGate gate_;
  Inbox inbox_;
  InputPool pool_;
  Telemetry telemetry_;
  std::atomic<Ticket> next_ticket_ = 1;
  std::unique_ptr<StepLoop> loop_;  // the engine thread's, once it runs
  std::mutex shutdown_mutex_;
  std::jthread thread_;
};

absl::StatusOr<std::shared_ptr<LiveRequest>> ModelEngine::Accept(Request request,
                                                                 std::shared_ptr<OutputSink> sink) {
  ApplyDefaults(model_->info.default_sampling, request.sampling);
  RETURN_IF_ERROR(CheckSampling(request.sampling, model_->info.vocabulary));
  RETURN_IF_ERROR(preparer_.Check(request));
  if (request.image_mode == ImageMode::kStretch) {
    return InvalidField("image_mode", "pad and crop are the modes of this model");
  }
  const std::vector<std::string>& stops =
      request.sampling.stop.empty() ? model_->stop_strings : request.sampling.stop;
  auto answer = Answer::Create(*model_->tokenizer, stops);
  if (!answer.ok()) {
    return AtField(answer.status(), "sampling.stop", ErrorReason::kInvalidParameter);
  }
  if (request.memory == nullptr) {
    ASSIGN_OR_RETURN(MemoryCharge charge,
                     memory_.Charge(MemoryUse::kRequests, InputBytes(request.input)));
    request.memory = std::make_shared<MemoryCharge>(std::move(charge));
  }
  RETURN_IF_ERROR(gate_.Enter());
  auto live = std::make_shared<LiveRequest>();
  live->ticket = next_ticket_.fetch_add(1);
  live->cancellation.set_deadline(request.deadline);
  live->request = std::move(request);
  live->sink = std::move(sink);
  live->answer = *std::move(answer);
  return live;
}

absl::StatusOr<Ticket> ModelEngine::Submit(Request request, std::shared_ptr<OutputSink> sink) {
  auto live = Accept(std::move(request), std::move(sink));
  if (!live.ok()) {
    const bool invalid = live.status().code() == absl::StatusCode::kInvalidArgument;
    telemetry_.Write([&](EngineStats& stats) {
      ++stats.outcomes[static_cast<size_t>(invalid ? Outcome::kInvalid : Outcome::kRejected)];
    });
    return live.status();
  }
  const Ticket ticket = (*live)->ticket;
  if (!inbox_.Push(AcceptedMessage{*live})) {
    gate_.Leave();
    return ShutdownStatus();
  }
  pool_.Add(*std::move(live));
  return ticket;
}

// The input is freed before the engine's thread comes round.
void ModelEngine::End(Ticket ticket, FinishReason reason) {
  pool_.Drop(ticket);
  inbox_.Push(CancelMessage{ticket, reason});
}

absl::StatusOr<PromptInfo> ModelEngine::CountTokens(const Request& request) {
  RETURN_IF_ERROR(preparer_.Check(request));
  ASSIGN_OR_RETURN(PromptPlan plan, preparer_.Plan(request));
  PreparedPrompt& prompt = plan.prompt;
  const int32_t image_rows = prompt.image_rows();
  return PromptInfo{std::move(prompt.ids), static_cast<int32_t>(prompt.rows.size()) - image_rows,
                    image_rows};
}

EngineStats ModelEngine::Stats() const {
  EngineStats stats = telemetry_.Read();
  stats.waiting = gate_.waiting();
  stats.inflight_bytes = memory_.bytes();
  stats.draining = gate_.closed();
  const InputPoolStats input = pool_.Stats(Clock::now());
  stats.oldest(Standing::kQueued) = input.oldest_queued;
  stats.oldest(Standing::kPreparing) = input.oldest_preparing;
  stats.longest_turn_seconds = input.longest_turn;
  stats.images_decoded = input.images;
  return stats;
}

void ModelEngine::Run() {
  bool busy = false;
  while (!inbox_.stopped()) {
    const Clock::time_point now = Clock::now();
    const Clock::time_point until = busy ? now : loop_->requests().NextDeadline(now + kHeartbeat);
    for (InboxMessage& message : inbox_.Take(until)) loop_->Handle(std::move(message));
    loop_->requests().ExpireDeadlines(Clock::now());
    busy = loop_->Step();
    loop_->PublishGauges();
    telemetry_.Beat();
  }
  for (InboxMessage& message : inbox_.Close()) loop_->Handle(std::move(message));
  loop_->requests().AbortAll(ShutdownStatus());
  loop_->PublishGauges();
}

void ModelEngine::Shutdown() {
  const std::lock_guard lock(shutdown_mutex_);
  gate_.Close();
  pool_.Close();
  inbox_.Stop();
  if (thread_.joinable()) thread_.join();
  pool_.Stop();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> StartEngine(
    std::unique_ptr<Backend> backend, const ModelOptions& model_options,
    const EngineOptions& options, const std::function<void(int64_t, int64_t)>& progress) {
  const DType kv_dtype = options.kv_dtype.value_or(backend->activation_dtype());
  RETURN_IF_ERROR(backend->CheckKvDType(kv_dtype));
  std::unique_ptr<Backend> secondary_stream = backend->MakeSecondaryStream();
  ASSIGN_OR_RETURN(std::unique_ptr<LoadedModel> model,
                   LoadModel({*backend, secondary_stream == nullptr ? *backend : *secondary_stream},
                             model_options, progress));
  backend->Autotune();
  if (model->vision == nullptr) secondary_stream.reset();
  if (secondary_stream != nullptr) secondary_stream->Autotune();
  EngineOptions resolved = options;
  if (options.max_context > 0) {
    RETURN_IF_ERROR(CheckMaxContext(options.max_context, model->info.max_context));
    model->info.max_context = options.max_context;
  }
  model->info.max_images = options.max_images;
  if (resolved.block_size == 0) resolved.block_size = backend->BlockRows();
  model->info.kv_block_size = resolved.block_size;
  model->info.kv_dtype = DTypeName(kv_dtype);
  model->info.kv_bytes_per_token = KvCache::BlockBytes(model->spec.decoder, 1, kv_dtype);
  const int64_t context_bytes = model->info.kv_bytes_per_token * model->info.max_context;
  if (resolved.kv_cache_bytes == 0) {
    resolved.kv_cache_bytes = std::max(context_bytes, backend->CacheBytes());
  }
  auto engine = std::make_unique<ModelEngine>(std::move(backend), std::move(secondary_stream),
                                              std::move(model), resolved);
  RETURN_IF_ERROR(engine->Start(model_options));
  return engine;
}

}  // namespace tessera
