// The engine thread's work: takes messages, plans a step, encodes pictures, runs the model, samples, delivers. All scheduler, KV and
// model state is here and belongs to that one thread.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/admission_gate.h"
#include "engine/batch_builder.h"
#include "engine/inbox.h"
#include "engine/loaded_model.h"
#include "engine/model/kv_cache.h"
#include "engine/pace.h"
#include "engine/picture_encoder.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/step_tokens.h"
#include "engine/telemetry.h"

namespace tessera {

class StepLoop {
 public:
  // Allocates the KV cache. RESOURCE_EXHAUSTED when it does not fit.
  static absl::StatusOr<std::unique_ptr<StepLoop>> Create(Backend& backend, LoadedModel& model,
                                                          const ModelOptions& model_options,
                                                          const EngineOptions& options,
                                                          AdmissionGate& gate,
                                                          Telemetry& telemetry);

  // One row through the model and a blank picture through one layer of the encoder (all are of one shape), so that the first request
  // finds everything warm.
  absl::Status WarmUp();

  void Handle(InboxMessage message);
  // Ends requests whose deadline has passed.
  void ExpireDeadlines(Clock::time_point now);
  // One step. False when there was nothing to do.
  bool Step();
  // Ends all requests with `status`.
  void AbortAll(const absl::Status& status);

  // The next deadline of any request, or `otherwise`.
  Clock::time_point NextDeadline(Clock::time_point otherwise) const;
  void PublishGauges();

 private:
  StepLoop(Backend& backend, LoadedModel& model, const ModelOptions& model_options,
           const EngineOptions& options, AdmissionGate& gate, Telemetry& telemetry,
           std::unique_ptr<KvCache> cache);

  void OnPrepared(PreparedMessage message);
  absl::Status CheckFit(LiveRequest& request, int32_t rows) const;
  void StartSequence(LiveRequest& request, PreparedPrompt prompt);
  void NoteAdmitted(const StepPlan& plan, Clock::time_point now);

  bool EncodePictures(int decoding);
  bool ResolvePictures();
  void ReleasePictures(const StepPlan& plan);
  void FailPictureWaiters(const std::vector<Digest>& digests, const absl::Status& status);

  void RunForward(const StepPlan& plan);
  RowSampling SamplingOf(const LiveRequest& request) const;
  // Takes the next token of a request from row `row`.
  void AppendToken(LiveRequest& request, const StepTokens& tokens, size_t row,
                   Clock::time_point now);
  void Deliver(const std::vector<LiveRequest*>& sampled);
  void Finish(LiveRequest& request, absl::Status status, FinishReason reason, Outcome outcome);
  Usage UsageOf(const LiveRequest& request) const;

  Backend& backend_;
  LoadedModel& model_;
  const ModelOptions model_options_;
  const EngineOptions options_;
  AdmissionGate& gate_;
  Telemetry& telemetry_;
  std::unique_ptr<KvCache> cache_;
  BlockPool pool_;
  Scheduler scheduler_;
  PictureEncoder pictures_;
  Pace pace_;
  std::map<Ticket, std::shared_ptr<LiveRequest>> live_;
  double backend_seconds_ = 0;  // of the step under way
};

}  // namespace tessera
