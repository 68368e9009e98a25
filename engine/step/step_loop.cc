#include "engine/step/step_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/load/generation_config.h"
#include "engine/request/progress.h"

namespace tessera {
namespace {

PaceOptions PaceFrom(const EngineOptions& options) {
  return {options.step_tokens, options.step_seconds, options.stall_ratio};
}

Outcome OutcomeOf(FinishReason reason, const absl::Status& status) {
  switch (reason) {
    case FinishReason::kStop:
      return Outcome::kStop;
    case FinishReason::kLength:
      return Outcome::kLength;
    case FinishReason::kCancelled:
      return Outcome::kCancelled;
    case FinishReason::kDeadline:
      return Outcome::kDeadline;
    case FinishReason::kNone:
      break;
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return Outcome::kInvalid;
    case absl::StatusCode::kUnavailable:
      return Outcome::kAborted;
    default:
      return Outcome::kFailed;
  }
}

// Blocks for `kv_cache_bytes`, at most as many as `max_running` full contexts could use.
int64_t CountBlocks(const DecoderSpec& decoder, const EngineOptions& options, DType dtype,
                           int32_t max_context) {
  const int64_t block_bytes =
      KvCache::BlockBytes(decoder, options.block_size, options.kv_dtype.value_or(dtype));
  const int64_t per_context = (max_context + options.block_size - 1) / options.block_size;
  const int64_t wanted = options.kv_cache_bytes / block_bytes;
  return std::max<int64_t>(1, std::min(wanted, per_context * options.max_running));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepLoop>> StepLoop::Create(Backend& backend, LoadedModel& model,
                                                           const ModelOptions& model_options,
                                                           const EngineOptions& options,
                                                           AdmissionGate& gate, InputPool& input,
                                                           Telemetry& telemetry) {
  const int64_t blocks = CountBlocks(model.spec.decoder, options, backend.activation_dtype(),
                                     model.info.max_context);
  ASSIGN_OR_RETURN(std::unique_ptr<KvCache> cache,
                   KvCache::Allocate(backend, model.spec.decoder, blocks, options.block_size,
                                     options.kv_dtype));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> drawn,
                   backend.Allocate(DType::kInt32, {options.max_running}));
  return std::unique_ptr<StepLoop>(new StepLoop(backend, model, model_options, options, gate,
                                                input, telemetry, std::move(cache),
                                                std::move(drawn)));
}

StepLoop::StepLoop(Backend& backend, LoadedModel& model, const ModelOptions& model_options,
                   const EngineOptions& options, AdmissionGate& gate, InputPool& input,
                   Telemetry& telemetry, std::unique_ptr<KvCache> cache, std::unique_ptr<Buffer> drawn)
    : backend_(backend),
      model_(model),
      model_options_(model_options),
      options_(options),
      gate_(gate),
      input_(input),
      telemetry_(telemetry),
      plan_ahead_(options.plan_ahead.value_or(backend.queues())),
      vision_beside_(model.vision != nullptr && &model.vision->backend() != &backend),
      cache_(std::move(cache)),
      drawn_(std::move(drawn)),
      pool_(static_cast<int32_t>(cache_->blocks())),
      scheduler_({options.block_size, options.max_running,
                  options.prefix_cache && !model.spec.decoder.capacity,
                  model.spec.decoder.capacity.has_value()},
                 pool_),
      pictures_(model.vision.get(), options.image_cache_bytes),
      pace_(PaceFrom(options)) {
  model.decoder->set_heartbeat([&telemetry] { telemetry.Beat(); });
}

// ------------------------------------------------------------------------------------------------------------ messages

void StepLoop::Handle(InboxMessage message) {
  if (auto* accepted = std::get_if<AcceptedMessage>(&message)) {
    const Ticket ticket = accepted->request->ticket;
    live_.emplace(ticket, std::move(accepted->request));
  } else if (auto* prepared = std::get_if<PreparedMessage>(&message)) {
    OnPrepared(std::move(*prepared));
  } else {
    const CancelMessage& cancel = std::get<CancelMessage>(message);
    const auto found = live_.find(cancel.ticket);
    if (found == live_.end()) return;
    if (cancel.reason == FinishReason::kDeadline) return Expire(*found->second);
    Finish(*found->second, absl::CancelledError("the caller cancelled"), FinishReason::kCancelled,
           Outcome::kCancelled);
  }
}

void StepLoop::Expire(LiveRequest& request) {
  Finish(request,
         RequestError(absl::StatusCode::kDeadlineExceeded, ErrorReason::kDeadlineExceeded, "",
                      "the deadline passed before the answer was complete"),
         FinishReason::kDeadline, Outcome::kDeadline);
}

void StepLoop::OnPrepared(PreparedMessage message) {
  LiveRequest& request = *message.request;
  if (!live_.contains(request.ticket)) return;  // cancelled or expired meanwhile
  if (const absl::Status status = message.prompt.status(); !status.ok()) {
    Finish(request, status, FinishReason::kNone, OutcomeOf(FinishReason::kNone, status));
    return;
  }
  request.sequence.max_rows = message.max_rows;
  StartSequence(request, *std::move(message.prompt));
}

void StepLoop::StartSequence(LiveRequest& request, PreparedPrompt prompt) {
  Sequence& sequence = request.sequence;
  sequence.owner = &request;
  sequence.sampling = request.request.sampling;
  ApplyDefaults(model_.info.default_sampling, sequence.sampling);
  sequence.tokens = prompt.rows;
  sequence.prompt = std::move(prompt);
  sequence.image_ready.assign(sequence.prompt.images.size(), false);
  request.pictures.resize(sequence.prompt.images.size());
  request.looked_up.assign(sequence.prompt.images.size(), false);

  const DecoderSpec& decoder = model_.spec.decoder;
  const bool pictured = !sequence.prompt.images.empty();
  const uint8_t unscaled = pictured && !decoder.scale_pictured_prompts ? 1 : 0;
  sequence.answer_apart = unscaled == 1 || (decoder.sliding_window > 0 &&
                                            sequence.max_rows > decoder.sliding_window);
  Sha256Stream salt;
  salt.Add(&unscaled, sizeof(unscaled));
  salt.Add(request.request.cache_salt.data(), request.request.cache_salt.size());
  if (model_options_.router == RouterMode::kGumbel) {
    salt.Add(&sequence.sampling.seed, sizeof(sequence.sampling.seed));
  }
  sequence.salt = salt.Finish();
  if (!sequence.sampling.ignore_eos) request.end_ids = model_.eos_ids;
  request.end_ids.insert(request.end_ids.end(), sequence.sampling.stop_ids.begin(),
                         sequence.sampling.stop_ids.end());
  request.prepared = true;
  request.prepare_ended = Clock::now();
  scheduler_.Add(&sequence);
  request.sink->OnAdmitted({sequence.prompt.ids,
                            sequence.prompt_rows() - sequence.prompt.image_rows(),
                            sequence.prompt.image_rows()});
}

void StepLoop::ExpireDeadlines(Clock::time_point now) {
  std::vector<LiveRequest*> expired;
  for (const auto& [ticket, request] : live_) {
    if (request->request.deadline && *request->request.deadline <= now) expired.push_back(request.get());
  }
  for (LiveRequest* request : expired) Expire(*request);
}

Clock::time_point StepLoop::NextDeadline(Clock::time_point otherwise) const {
  for (const auto& [ticket, request] : live_) {
    if (request->request.deadline) otherwise = std::min(otherwise, *request->request.deadline);
  }
  return otherwise;
}

void StepLoop::AbortAll(const absl::Status& status) {
  while (!live_.empty()) {
    Finish(*live_.begin()->second, status, FinishReason::kNone, OutcomeOf(FinishReason::kNone, status));
  }
}

// ---------------------------------------------------------------------------------------------------------------- step

bool StepLoop::Step() {
  const Clock::time_point begin = Clock::now();
  backend_seconds_ = 0;
  const bool landing = flight_.has_value();
  if (flight_ && flight_->looked_back_on) Land(*std::exchange(flight_, std::nullopt));
  int decoding = 0;
  for (const Sequence* sequence : scheduler_.running()) decoding += sequence->decoding() ? 1 : 0;
  const bool vision_waits = pictures_.busy() && !vision_beside_;
  const StepPlan plan = scheduler_.Plan(pace_.Rows(decoding, vision_waits));
  NoteAdmitted(plan, begin);
  std::optional<Flight> before = std::exchange(flight_, std::nullopt);
  if (!plan.rows.empty()) Launch(plan);
  if (before) Land(*std::move(before));
  if (flight_ && !plan_ahead_) Land(*std::exchange(flight_, std::nullopt));
  const bool encoding = EncodePictures(decoding);
  if (plan.rows.empty() && !landing && !encoding) return false;

  const double seconds = Seconds(Clock::now() - begin);
  telemetry_.Write([&](EngineStats& stats) {
    ++stats.steps;
    stats.step_seconds_total += seconds;
    stats.backend_seconds_total += backend_seconds_;
    stats.step_seconds.Observe(seconds);
    if (plan.total_rows > 0) stats.step_rows.Observe(plan.total_rows);
  });
  return true;
}

void StepLoop::NoteAdmitted(const StepPlan& plan, Clock::time_point now) {
  for (const Sequence* sequence : scheduler_.running()) {
    LiveRequest& request = *sequence->owner;
    if (request.admitted) continue;
    request.admitted = now;
    request.waiting = false;
    gate_.Leave();
    request.queue_seconds =
        Seconds(now - request.request.arrival) - sequence->prompt.preprocess_seconds;
  }
  for (const PlannedRows& rows : plan.rows) {
    LiveRequest& request = *rows.sequence->owner;
    if (!request.prefill_began) request.prefill_began = now;
  }
}

void StepLoop::Finish(LiveRequest& request, absl::Status status, FinishReason reason,
                      Outcome outcome) {
  request.cancellation.Cancel();
  if (!request.prepared) input_.Drop(request.ticket);
  const Clock::time_point now = Clock::now();
  const Completion completion{std::move(status), reason, UsageOf(request, now), StageOf(request)};
  if (request.prepared) scheduler_.Remove(&request.sequence);
  if (request.waiting) gate_.Leave();
  telemetry_.Write([&](EngineStats& stats) { RecordFinish(request, completion, outcome, now, stats); });
  request.sink->OnFinish(completion);
  live_.erase(request.ticket);
}

// Since when the oldest request waits for a place, and the oldest of those that run has one.
void StepLoop::PublishOldest() {
  std::optional<Clock::time_point> waiting;
  std::optional<Clock::time_point> running;
  const auto take_older = [](std::optional<Clock::time_point>& oldest, Clock::time_point since) {
    if (!oldest || since < *oldest) oldest = since;
  };
  for (const auto& [ticket, request] : live_) {
    if (request->admitted) {
      take_older(running, *request->admitted);
    } else if (request->prepare_ended) {
      take_older(waiting, *request->prepare_ended);
    }
  }
  telemetry_.SetOldest(waiting, running);
}

void StepLoop::PublishGauges() {
  const SchedulerCounts& counts = scheduler_.counts();
  PublishOldest();
  telemetry_.Write([&](EngineStats& stats) {
    stats.running = static_cast<int64_t>(scheduler_.running().size());
    stats.kv_blocks_total = pool_.total();
    stats.kv_blocks_used = pool_.used();
    stats.kv_blocks_cached = pool_.cached();
    stats.image_cache_bytes = pictures_.cached_bytes();
    stats.preemptions = counts.preemptions;
    stats.prefix_queried_tokens = counts.queried_rows;
    stats.prefix_hit_tokens = counts.hit_rows;
    stats.images_encoded = pictures_.counts().encoded;
    stats.image_cache_hits = pictures_.counts().hits;
    stats.image_cache_misses = pictures_.counts().misses;
    stats.kernel_fallbacks = backend_.fallbacks();
    if (!vision_beside_) return;
    const Fallbacks beside = model_.vision->backend().fallbacks();
    for (size_t i = 0; i < beside.size(); ++i) stats.kernel_fallbacks[i] += beside[i];
  });
}

}  // namespace tessera
