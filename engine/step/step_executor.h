// One step on the device: queues the forward pass that a plan says, and takes what it gave when the
// device has done it.
//
// Who may free an image's rows: the steps in flight hold all images that they read, and let go of
// them when they have landed, so whoever else held them may let go at any time. Thread: the
// engine's.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/load/loaded_model.h"
#include "engine/model/kv_cache.h"
#include "engine/sample/step_tokens.h"
#include "engine/schedule/scheduler.h"
#include "engine/step/request_table.h"

namespace tessera {

// A step that is queued and whose tokens nobody knows yet.
struct InFlightStep {
  Clock::time_point launched;
  int32_t decoding_rows = 0;
  int32_t prefill_rows = 0;
  std::vector<Ticket> sampling;  // who gets the tokens, in order
  bool history_is_read = false;  // what one of them samples next depends on its token
  std::optional<StepTokens> tokens;
  std::vector<std::vector<int32_t>> choices;  // of experts, [T, k] of each routed layer
  std::unique_ptr<PendingCopy> choices_arrival;
  std::vector<bool> image_row;               // [T]
  std::vector<ImageFeaturesPtr> images;      // that it reads
  std::unique_ptr<PendingCopy> images_read;  // null where it reads none
};

class StepExecutor {
 public:
  // Allocates the KV cache; RESOURCE_EXHAUSTED when it does not fit. All arguments must outlive the
  // executor.
  static absl::StatusOr<std::unique_ptr<StepExecutor>> Create(Backend& backend, LoadedModel& model,
                                                              RouterMode router,
                                                              const EngineOptions& options,
                                                              const Telemetry& telemetry);

  int64_t blocks() const { return cache_->blocks(); }
  Fallbacks fallbacks() const { return backend_.fallbacks(); }

  // Queues the plan's rows. REQUIRES: `requests` has the owners of all of its sequences, and the
  // images of its image rows are at hand.
  InFlightStep Launch(const StepPlan& plan, const RequestTable& requests);
  // Waits for the device. The seconds that it worked on this step.
  double Land(InFlightStep& step);
  // Computes a prompt of so many rows in the first blocks of the cache and throws it away. Seconds
  // until the device has done it.
  double ForwardBlank(int32_t rows);

 private:
  StepExecutor(Backend& backend, LoadedModel& model, RouterMode router, int32_t block_size,
               const Telemetry& telemetry, std::unique_ptr<KvCache> cache,
               std::unique_ptr<Buffer> sampled)
      : backend_(backend),
        model_(model),
        router_(router),
        block_size_(block_size),
        telemetry_(telemetry),
        cache_(std::move(cache)),
        sampled_(std::move(sampled)) {}

  void StartSampling(const DecoderOutput& output, const RequestTable& requests, InFlightStep& step);
  void StartChoices(std::span<const Tensor> choices, InFlightStep& step);
  RowSampling SamplingOf(const LiveRequest& request) const;

  Backend& backend_;
  LoadedModel& model_;
  const RouterMode router_;
  const int32_t block_size_;
  const Telemetry& telemetry_;
  std::unique_ptr<KvCache> cache_;
  // int32 [max_running], the tokens of the latest step that drew any
  std::unique_ptr<Buffer> sampled_;
  Clock::time_point landed_;  // when the latest step did
};

}  // namespace tessera
