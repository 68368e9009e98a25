#include "server/submission.h"

#include <utility>

#include "engine/status.h"

namespace tessera {

absl::Status Submission::Submit(Work work, std::shared_ptr<OutputSink> sink) {
  ASSIGN_OR_RETURN(const Ticket ticket,
                   work.engine->Submit(std::move(work.request), std::move(sink)));
  {
    const std::lock_guard lock(mutex_);
    engine_ = work.engine;
    ticket_ = ticket;
    if (!cancelled_) return absl::OkStatus();
  }
  work.engine->Cancel(ticket);
  return absl::OkStatus();
}

void Submission::Cancel() {
  Engine* engine = nullptr;
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    engine = engine_;
    ticket = ticket_;
  }
  if (engine != nullptr) engine->Cancel(ticket);
}

}  // namespace tessera
