#include "engine/step/step_loop.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/step/sequence_start.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<StepLoop>> StepLoop::Create(
    Backend& backend, Backend& vision_backend, LoadedModel& model,
    const ModelOptions& model_options, const EngineOptions& options, AdmissionGate& gate,
    InputPool& input, Telemetry& telemetry) {
  ASSIGN_OR_RETURN(std::unique_ptr<StepExecutor> executor,
                   StepExecutor::Create(backend, model, model_options.router, options, telemetry));
  return std::unique_ptr<StepLoop>(new StepLoop(backend, vision_backend, model, model_options,
                                                options, gate, input, telemetry,
                                                std::move(executor)));
}

StepLoop::StepLoop(Backend& backend, Backend& vision_backend, LoadedModel& model,
                   const ModelOptions& model_options, const EngineOptions& options,
                   AdmissionGate& gate, InputPool& input, Telemetry& telemetry,
                   std::unique_ptr<StepExecutor> executor)
    : vision_backend_(vision_backend),
      model_(model),
      router_(model_options.router),
      plan_ahead_(options.plan_ahead.value_or(backend.queues())),
      telemetry_(telemetry),
      executor_(std::move(executor)),
      pool_(static_cast<int32_t>(executor_->blocks())),
      scheduler_({options.block_size, options.max_running,
                  options.prefix_cache && !model.spec.decoder.capacity,
                  model.spec.decoder.capacity.has_value()},
                 pool_),
      budget_({options.step_tokens, options.step_seconds, options.stall_ratio}),
      requests_(scheduler_, gate, input, telemetry),
      delivery_(model, scheduler_, requests_, telemetry),
      vision_(model.vision.get(), vision_backend, /*own_stream=*/&vision_backend != &backend,
              options.image_cache_bytes, requests_, scheduler_, budget_) {
  model.decoder->set_heartbeat([&telemetry] { telemetry.Beat(); });
}

// The device may still read what the step holds.
StepLoop::~StepLoop() {
  if (in_flight_) executor_->Land(*in_flight_);
}

void StepLoop::Handle(InboxMessage message) {
  if (auto* accepted = std::get_if<AcceptedMessage>(&message)) {
    requests_.Add(std::move(accepted->request));
  } else if (auto* prepared = std::get_if<PreparedMessage>(&message)) {
    OnPrepared(std::move(*prepared));
  } else {
    const CancelMessage& cancel = std::get<CancelMessage>(message);
    requests_.Cancel(cancel.ticket, cancel.reason);
  }
}

void StepLoop::OnPrepared(PreparedMessage message) {
  LiveRequest& request = *message.request;
  if (requests_.Find(request.ticket) == nullptr) return;  // cancelled or expired meanwhile
  if (const absl::Status status = message.prompt.status(); !status.ok()) {
    requests_.Fail(request, status);
    return;
  }
  StartSequence(model_, router_, *std::move(message.prompt), message.max_rows, request);
  const Sequence& sequence = request.sequence;
  scheduler_.Add(&request.sequence);
  request.sink->OnAdmitted({sequence.prompt.ids,
                            sequence.prompt_rows() - sequence.prompt.image_rows(),
                            sequence.prompt.image_rows()});
}

bool StepLoop::Step() {
  const Clock::time_point begin = Clock::now();
  const bool landing = in_flight_.has_value();
  double device_seconds = 0;
  const auto land = [&] {
    if (in_flight_) device_seconds += Land(*std::exchange(in_flight_, std::nullopt));
  };

  if (in_flight_ && in_flight_->history_is_read) land();
  const auto decoding = static_cast<int>(std::ranges::count_if(
      scheduler_.running(), [](const Sequence* sequence) { return sequence->decoding(); }));
  const StepPlan plan = scheduler_.Plan(budget_.Rows(decoding, vision_.delays_steps()));
  requests_.NoteProgress(plan, begin);

  std::optional<InFlightStep> launched;
  if (!plan.rows.empty()) {
    launched = executor_->Launch(plan, requests_);
    scheduler_.Advance(plan);
    vision_.Release(plan);
  }
  land();
  in_flight_ = std::move(launched);
  if (!plan_ahead_) land();
  const bool encoding = vision_.Advance(decoding, in_flight_.has_value());
  if (plan.rows.empty() && !landing && !encoding) return false;

  device_seconds += vision_.TakeSeconds();
  const double seconds = Seconds(Clock::now() - begin);
  telemetry_.Write([&](EngineStats& stats) {
    ++stats.steps;
    stats.step_seconds_total += seconds;
    stats.backend_seconds_total += device_seconds;
    stats.step_seconds.Observe(seconds);
    if (plan.total_rows > 0) stats.step_rows.Observe(plan.total_rows);
  });
  return true;
}

double StepLoop::Land(InFlightStep step) {
  const double seconds = executor_->Land(step);
  const Clock::time_point now = Clock::now();
  budget_.LearnForward(step.decoding_rows, step.prefill_rows, seconds);
  telemetry_.CountRouting(step.choices, step.image_row);
  for (size_t row = 0; row < step.sampling.size(); ++row) {
    LiveRequest* request = requests_.Find(step.sampling[row]);
    // else it ended meanwhile
    if (request != nullptr) delivery_.Deliver(*request, *step.tokens, row, now);
  }
  return seconds;
}

void StepLoop::PublishGauges() {
  requests_.PublishOldest();
  telemetry_.Write([&](EngineStats& stats) {
    stats.running = static_cast<int64_t>(scheduler_.running().size());
    stats.kv_blocks_total = pool_.total();
    stats.kv_blocks_used = pool_.used();
    stats.kv_blocks_cached = pool_.cached();
    const SchedulerCounts& counts = scheduler_.counts();
    stats.preemptions = counts.preemptions;
    stats.prefix_queried_tokens = counts.queried_rows;
    stats.prefix_hit_tokens = counts.hit_rows;
    stats.kernel_fallbacks = executor_->fallbacks();
    vision_.Publish(stats);
  });
}

}  // namespace tessera
