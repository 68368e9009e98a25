// The requests that the engine thread knows, from the inbox to OnFinish(): their deadlines, how
// they end, and what is counted of them.
//
// Invariants: a request is in the table until its one OnFinish(); a sequence that the scheduler has
// belongs to a request in the table. Thread: the engine's. Tests: tests/engine/engine_test.cc.
#pragma once

#include <map>
#include <memory>

#include "absl/status/status.h"
#include "engine/prepare/admission_gate.h"
#include "engine/prepare/input_pool.h"
#include "engine/request/live_request.h"
#include "engine/schedule/scheduler.h"
#include "engine/step/telemetry.h"

namespace tessera {

class RequestTable {
 public:
  // All of them must outlive this.
  RequestTable(Scheduler& scheduler, AdmissionGate& gate, InputPool& input, Telemetry& telemetry)
      : scheduler_(scheduler), gate_(gate), input_(input), telemetry_(telemetry) {}

  void Add(std::shared_ptr<LiveRequest> request);
  // Null when it has ended.
  LiveRequest* Find(Ticket ticket) const;
  // REQUIRES: the scheduler has the sequence.
  LiveRequest& OwnerOf(const Sequence& sequence) const;

  // What has a place now runs, and what the plan has rows of is computed, since `now` at the
  // latest.
  void NoteProgress(const StepPlan& plan, Clock::time_point now);

  // Ends the request: everything that it holds is given back, its sink hears OnFinish(). `request`
  // is gone afterwards. `status` is OK for kStop and kLength.
  void Finish(LiveRequest& request, absl::Status status, FinishReason reason);
  void Fail(LiveRequest& request, absl::Status status) {
    Finish(request, std::move(status), FinishReason::kNone);
  }
  // By the caller or by its clock. A request that has ended is ignored.
  void Cancel(Ticket ticket, FinishReason reason);
  void ExpireDeadlines(Clock::time_point now);
  // The next deadline of any request, or `otherwise`.
  Clock::time_point NextDeadline(Clock::time_point otherwise) const;
  void AbortAll(const absl::Status& status);

  // Tells the telemetry since when the oldest request waits for a place, and the oldest of those
  // that run has one.
  void PublishOldest() const;

 private:
  Scheduler& scheduler_;
  AdmissionGate& gate_;
  InputPool& input_;
  Telemetry& telemetry_;
  std::map<Ticket, std::shared_ptr<LiveRequest>> requests_;
};

}  // namespace tessera
