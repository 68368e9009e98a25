// The engine thread's work: takes messages, plans a step, queues it, delivers the tokens of the one before, encodes pictures. Where the
// device works beside the host, a step is queued before the tokens of the one before it are known. All scheduler, KV and model state is
// here and belongs to that one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/load/loaded_model.h"
#include "engine/model/kv_cache.h"
#include "engine/prepare/admission_gate.h"
#include "engine/prepare/input_pool.h"
#include "engine/request/inbox.h"
#include "engine/sample/sampler.h"
#include "engine/sample/step_tokens.h"
#include "engine/schedule/pace.h"
#include "engine/schedule/scheduler.h"
#include "engine/step/batch_builder.h"
#include "engine/step/picture_encoder.h"
#include "engine/step/telemetry.h"

namespace tessera {

class StepLoop {
 public:
  // Allocates the KV cache. RESOURCE_EXHAUSTED when it does not fit.
  static absl::StatusOr<std::unique_ptr<StepLoop>> Create(Backend& backend, LoadedModel& model,
                                                          const ModelOptions& model_options,
                                                          const EngineOptions& options,
                                                          AdmissionGate& gate,
                                                          InputPool& input,
                                                          Telemetry& telemetry);

  // A few rows through the model and a blank picture through one layer of the encoder (all are of one shape), so that the first request
  // finds everything warm and the pace knows what a row takes.
  absl::Status WarmUp();

  void Handle(InboxMessage message);
  // Ends requests whose deadline has passed.
  void ExpireDeadlines(Clock::time_point now);
  // One step. False when there was nothing to do.
  bool Step();
  // Ends all requests with `status`.
  void AbortAll(const absl::Status& status);

  // What bounds every sequence; never changes.
  RowLimits row_limits() const { return {model_.info.max_context, scheduler_.capacity_rows()}; }
  // The next deadline of any request, or `otherwise`.
  Clock::time_point NextDeadline(Clock::time_point otherwise) const;
  void PublishGauges();

 private:
  StepLoop(Backend& backend, LoadedModel& model, const ModelOptions& model_options,
           const EngineOptions& options, AdmissionGate& gate, InputPool& input,
           Telemetry& telemetry, std::unique_ptr<KvCache> cache, std::unique_ptr<Buffer> drawn);

  // A step that is queued and whose tokens are not delivered yet.
  struct Flight {
    Clock::time_point launched;
    int32_t decoding_rows = 0;
    int32_t prefill_rows = 0;
    std::vector<Ticket> sampling;  // who gets the tokens, in order
    bool looked_back_on = false;   // what one of them draws next depends on its token
    std::optional<StepTokens> tokens;
    std::vector<std::vector<int32_t>> choices;  // of experts, [T, k] of each routed layer
    std::unique_ptr<Arrival> choices_arrival;
    std::vector<bool> image_row;                // [T]
    std::vector<EncodedPicturePtr> pictures;    // that it reads and nobody needs afterwards
  };
  // Pictures that the encoder's device is busy with.
  struct Slice {
    Clock::time_point began;
    std::vector<Digest> pictures;
    double flops = 0;
  };

  void OnPrepared(PreparedMessage message);
  void StartSequence(LiveRequest& request, PreparedPrompt prompt);
  void NoteAdmitted(const StepPlan& plan, Clock::time_point now);

  bool EncodePictures(int decoding);
  void BeginSlice(int decoding);
  void EndSlice();
  bool ResolvePictures();
  void ReleasePictures(const StepPlan& plan, Flight& flight);
  void FailPictureWaiters(const std::vector<Digest>& digests, const absl::Status& status);

  double ForwardBlank(int32_t rows);
  void Launch(const StepPlan& plan);
  void StartChoices(std::span<const Tensor> choices, Flight& flight);
  // Waits for the step and delivers its tokens.
  void Land(Flight flight);
  RowSampling SamplingOf(const LiveRequest& request) const;
  // The next token of a request, from row `row`.
  Chunk TakeToken(LiveRequest& request, const StepTokens& tokens, size_t row,
                  Clock::time_point now);
  void Deliver(LiveRequest& request, Chunk chunk);
  void Finish(LiveRequest& request, absl::Status status, FinishReason reason, Outcome outcome);
  void PublishOldest();
  void Expire(LiveRequest& request);

  Backend& backend_;
  LoadedModel& model_;
  const ModelOptions model_options_;
  const EngineOptions options_;
  AdmissionGate& gate_;
  InputPool& input_;
  Telemetry& telemetry_;
  const bool plan_ahead_;
  const bool vision_beside_;  // the encoder has a queue of its own
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Buffer> drawn_;  // int32 [max_running], the tokens of the latest step that drew any
  BlockPool pool_;
  Scheduler scheduler_;
  PictureEncoder pictures_;
  Pace pace_;
  std::map<Ticket, std::shared_ptr<LiveRequest>> live_;
  std::optional<Flight> flight_;
  std::optional<Slice> slice_;
  Clock::time_point landed_;    // when the latest flight did
  double backend_seconds_ = 0;  // of the step under way
};

}  // namespace tessera
