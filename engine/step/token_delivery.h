// What a sampled token does: it joins its sequence, its text goes to the request's sink, and it may
// end the answer. Thread: the engine's.
#pragma once

#include "engine/load/loaded_model.h"
#include "engine/sample/step_tokens.h"
#include "engine/schedule/scheduler.h"
#include "engine/step/request_table.h"
#include "engine/step/telemetry.h"

namespace tessera {

class TokenDelivery {
 public:
  // All of them must outlive this.
  TokenDelivery(const LoadedModel& model, Scheduler& scheduler, RequestTable& requests,
                Telemetry& telemetry)
      : model_(model), scheduler_(scheduler), requests_(requests), telemetry_(telemetry) {}

  // Row `row` of `tokens`, which have arrived, is the request's next token. The request may have
  // ended afterwards.
  void Deliver(LiveRequest& request, const StepTokens& tokens, size_t row, Clock::time_point now);

 private:
  Chunk MakeChunk(const LiveRequest& request, const StepTokens& tokens, size_t row) const;
  void NoteTime(LiveRequest& request, Clock::time_point now);

  const LoadedModel& model_;
  Scheduler& scheduler_;
  RequestTable& requests_;
  Telemetry& telemetry_;
};

}  // namespace tessera
