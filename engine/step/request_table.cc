#include "engine/step/request_table.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/request/progress.h"

namespace tessera {
namespace {

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

absl::Status EndedBy(FinishReason reason) {
  if (reason == FinishReason::kCancelled) return absl::CancelledError("the caller cancelled");
  return RequestError(absl::StatusCode::kDeadlineExceeded, ErrorReason::kDeadlineExceeded, "",
                      "the deadline passed before the answer was complete");
}

}  // namespace

void RequestTable::Add(std::shared_ptr<LiveRequest> request) {
  const Ticket ticket = request->ticket;
  requests_.emplace(ticket, std::move(request));
}

LiveRequest* RequestTable::Find(Ticket ticket) const {
  const auto found = requests_.find(ticket);
  return found == requests_.end() ? nullptr : found->second.get();
}

LiveRequest& RequestTable::OwnerOf(const Sequence& sequence) const {
  LiveRequest* request = Find(sequence.ticket);
  TESSERA_CHECK(request != nullptr);
  return *request;
}

void RequestTable::NoteProgress(const StepPlan& plan, Clock::time_point now) {
  for (const Sequence* sequence : scheduler_.running()) {
    LiveRequest& request = OwnerOf(*sequence);
    if (request.admitted) continue;
    request.admitted = now;
    request.waiting = false;
    gate_.Leave();
    request.queue_seconds =
        Seconds(now - request.request.arrival) - sequence->prompt.preprocess_seconds;
  }
  for (const PlannedRows& rows : plan.rows) {
    LiveRequest& request = OwnerOf(*rows.sequence);
    if (!request.prefill_began) request.prefill_began = now;
  }
}

void RequestTable::Finish(LiveRequest& request, absl::Status status, FinishReason reason) {
  request.cancellation.Cancel();
  if (!request.prepared) input_.Drop(request.ticket);
  const Clock::time_point now = Clock::now();
  const Outcome outcome = OutcomeOf(reason, status);
  const Completion completion{std::move(status), reason, UsageOf(request, now), StageOf(request)};
  if (request.prepared) scheduler_.Remove(&request.sequence);
  if (request.waiting) gate_.Leave();
  telemetry_.Write(
      [&](EngineStats& stats) { RecordFinish(request, completion, outcome, now, stats); });
  request.sink->OnFinish(completion);
  requests_.erase(request.ticket);
}

void RequestTable::Cancel(Ticket ticket, FinishReason reason) {
  if (LiveRequest* request = Find(ticket)) Finish(*request, EndedBy(reason), reason);
}

void RequestTable::ExpireDeadlines(Clock::time_point now) {
  std::vector<Ticket> expired;
  for (const auto& [ticket, request] : requests_) {
    if (request->request.deadline && *request->request.deadline <= now) expired.push_back(ticket);
  }
  for (const Ticket ticket : expired) Cancel(ticket, FinishReason::kDeadline);
}

Clock::time_point RequestTable::NextDeadline(Clock::time_point otherwise) const {
  for (const auto& [ticket, request] : requests_) {
    if (request->request.deadline) otherwise = std::min(otherwise, *request->request.deadline);
  }
  return otherwise;
}

void RequestTable::AbortAll(const absl::Status& status) {
  while (!requests_.empty()) Fail(*requests_.begin()->second, status);
}

void RequestTable::PublishOldest() const {
  std::optional<Clock::time_point> waiting;
  std::optional<Clock::time_point> running;
  const auto take_older = [](std::optional<Clock::time_point>& oldest, Clock::time_point since) {
    if (!oldest || since < *oldest) oldest = since;
  };
  for (const auto& [ticket, request] : requests_) {
    if (request->admitted) {
      take_older(running, *request->admitted);
    } else if (request->prepare_ended) {
      take_older(waiting, *request->prepare_ended);
    }
  }
  telemetry_.SetOldest(waiting, running);
}

}  // namespace tessera
