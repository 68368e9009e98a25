// A call's request at the engine: submitted once, and cancelled at any time, also before Submit()
// has returned. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace tessera {

// What is to be done: a checked request and who does it.
struct Work {
  Engine* engine = nullptr;
  Request request;
};

class Submission {
 public:
  // OK: the sink gets its OnFinish. An error: it gets nothing.
  absl::Status Submit(Work work, std::shared_ptr<OutputSink> sink);
  // The request ends with `reason`: kCancelled or kDeadline. Not from within a sink.
  void Cancel(FinishReason reason);

 private:
  std::mutex mutex_;
  // Guarded by mutex_:
  Engine* engine_ = nullptr;  // set once the ticket is known
  Ticket ticket_ = 0;
  FinishReason cancelled_ = FinishReason::kNone;  // why, once it is
};

}  // namespace tessera
