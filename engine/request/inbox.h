// The one way into the engine thread: a locked queue of messages.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/request/live_request.h"

namespace tessera {

struct AcceptedMessage {
  std::shared_ptr<LiveRequest> request;
};
struct PreparedMessage {
  std::shared_ptr<LiveRequest> request;
  Clock::time_point began;
  int32_t max_rows = 0;  // of prompt and answer
  absl::StatusOr<PreparedPrompt> prompt;
};
struct CancelMessage {
  Ticket ticket;
  FinishReason reason = FinishReason::kCancelled;
};
using InboxMessage = std::variant<AcceptedMessage, PreparedMessage, CancelMessage>;

class Inbox {
 public:
  // False once closed: nobody will take the message.
  bool Push(InboxMessage message);
  // All messages so far; when there are none, waits for one until `until`.
  std::vector<InboxMessage> Take(Clock::time_point until);
  // Ends a Take() that waits, now and from now on.
  void Stop();
  bool stopped() const;
  // The last messages; none is accepted from now on.
  std::vector<InboxMessage> Close();

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<InboxMessage> messages_;
  bool stopped_ = false;
  bool closed_ = false;
};

}  // namespace tessera
