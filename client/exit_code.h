// How the command ends: exit codes that scripts can tell apart, and the lines that say what went
// wrong.
#pragma once

#include <stop_token>
#include <string>

#include "absl/status/status.h"

namespace tessera {

enum class ExitCode : int {
  kOk = 0,
  kOutputFailed = 1,
  kUsage = 2,
  kUnavailable = 3,
  kRejected = 4,
  kServerError = 5,
  kDeadline = 124,
  kInterrupted = 130,
};

// For the status of a call.
ExitCode ExitCodeOf(const absl::Status& status);

// "error: …" and, where the status has them, lines "reason: …", "field: …" and "retry after: … s".
std::string DescribeError(const absl::Status& status);

// Writes DescribeError to standard error and returns ExitCodeOf. When `stop` is stopped, the user
// has interrupted the call: nothing is written, and kInterrupted returned.
ExitCode FailCall(const absl::Status& status, const std::stop_token& stop = {});

// The same for what the user gave: a flag, a file. Returns kUsage.
ExitCode FailUsage(const absl::Status& status);

}  // namespace tessera
