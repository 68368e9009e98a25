#include "server/submission.h"

#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

void End(Engine& engine, Ticket ticket, FinishReason reason) {
  if (reason == FinishReason::kDeadline) return engine.Expire(ticket);
  engine.Cancel(ticket);
}

}  // namespace

absl::Status Submission::Submit(Work work, std::shared_ptr<OutputSink> sink) {
  ASSIGN_OR_RETURN(const Ticket ticket,
                   work.engine->Submit(std::move(work.request), std::move(sink)));
  FinishReason cancelled = FinishReason::kNone;
  {
    const std::lock_guard lock(mutex_);
    engine_ = work.engine;
    ticket_ = ticket;
    cancelled = cancelled_;
  }
  if (cancelled != FinishReason::kNone) End(*work.engine, ticket, cancelled);
  return absl::OkStatus();
}

void Submission::Cancel(FinishReason reason) {
  Engine* engine = nullptr;
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_ != FinishReason::kNone) return;
    cancelled_ = reason;
    engine = engine_;
    ticket = ticket_;
  }
  if (engine != nullptr) End(*engine, ticket, reason);
}

}  // namespace tessera
