// A failed call as an absl::Status: code and message as they came, and the google.rpc details
// (ErrorInfo, BadRequest, RetryInfo) as payloads under their type URLs. Details that do not parse
// are left out: they never hide the error itself.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tessera {

// What the server says beside the message.
struct ErrorDetails {
  // ErrorInfo.reason, such as "QUEUE_FULL"; empty when there is none.
  std::string reason;
  // The first field at fault, such as "sampling.top_p"; empty when there is none.
  std::string field;
  // RetryInfo.retry_delay.
  std::optional<absl::Duration> retry_after;
};

// `code` is gRPC's number, `details` the serialized google.rpc.Status of the trailer
// grpc-status-details-bin.
absl::Status CallStatus(int code, const std::string& message, const std::string& details);

// The details that a status made by CallStatus carries.
ErrorDetails DetailsOf(const absl::Status& status);

}  // namespace tessera
