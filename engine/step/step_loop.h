// The engine thread's work, one step after the other: plan, launch, land, encode. Where the device
// works beside the host, a step is launched before the tokens of the one before it are known. All
// scheduler, KV and model state belongs to this one thread.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/request/inbox.h"
#include "engine/schedule/row_limits.h"
#include "engine/schedule/token_budget_controller.h"
#include "engine/step/request_table.h"
#include "engine/step/step_executor.h"
#include "engine/step/token_delivery.h"
#include "engine/step/vision_queue.h"

namespace tessera {

class StepLoop {
 public:
  // `vision_backend`: that which has the vision encoder's weights, often the same. Allocates the KV
  // cache. RESOURCE_EXHAUSTED when it does not fit. All arguments but the options must outlive the
  // loop.
  static absl::StatusOr<std::unique_ptr<StepLoop>> Create(Backend& backend, Backend& vision_backend,
                                                          LoadedModel& model,
                                                          const ModelOptions& model_options,
                                                          const EngineOptions& options,
                                                          AdmissionGate& gate, InputPool& input,
                                                          Telemetry& telemetry);
  ~StepLoop();

  // A few rows through the model and a blank image through one layer of the encoder (all are of one
  // shape), so that the first request finds everything warm and the pace knows what a row takes.
  absl::Status WarmUp();

  void Handle(InboxMessage message);
  // One step. False when there was nothing to do.
  bool Step();
  void PublishGauges();

  RequestTable& requests() { return requests_; }
  // What bounds every sequence; never changes.
  RowLimits row_limits() const { return {model_.info.max_context, scheduler_.capacity_rows()}; }

 private:
  StepLoop(Backend& backend, Backend& vision_backend, LoadedModel& model,
           const ModelOptions& model_options, const EngineOptions& options, AdmissionGate& gate,
           InputPool& input, Telemetry& telemetry, std::unique_ptr<StepExecutor> executor);

  void OnPrepared(PreparedMessage message);
  // Waits for the step and delivers its tokens. The seconds that the device worked on it.
  double Land(InFlightStep step);

  Backend& vision_backend_;
  LoadedModel& model_;
  const RouterMode router_;
  const bool plan_ahead_;
  Telemetry& telemetry_;
  std::unique_ptr<StepExecutor> executor_;
  BlockPool pool_;
  Scheduler scheduler_;
  TokenBudgetController budget_;
  RequestTable requests_;
  TokenDelivery delivery_;
  VisionQueue vision_;
  std::optional<InFlightStep> in_flight_;
};

}  // namespace tessera
