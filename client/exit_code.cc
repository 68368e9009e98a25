#include "client/exit_code.h"

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

#include "client/call_status.h"
#include "client/terminal.h"

namespace tessera {
namespace {

void PrintError(const absl::Status& status) { std::fputs(DescribeError(status).c_str(), stderr); }

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kDeadline;
    case absl::StatusCode::kCancelled:
      return ExitCode::kInterrupted;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDataLoss:
      return ExitCode::kServerError;
    default:
      return ExitCode::kRejected;
  }
}

std::string DescribeError(const absl::Status& status) {
  const std::string_view message(status.message().data(), status.message().size());
  const ErrorDetails details = DetailsOf(status);
  std::string lines = fmt::format("error: {}\n", TerminalWords(message));
  if (!details.reason.empty()) lines += fmt::format("reason: {}\n", TerminalWords(details.reason));
  if (!details.field.empty()) lines += fmt::format("field: {}\n", TerminalWords(details.field));
  if (details.retry_after.has_value()) {
    lines += fmt::format("retry after: {:g} s\n", absl::ToDoubleSeconds(*details.retry_after));
  }
  return lines;
}

ExitCode FailCall(const absl::Status& status, const std::stop_token& stop) {
  if (stop.stop_requested()) return ExitCode::kInterrupted;
  PrintError(status);
  return ExitCodeOf(status);
}

ExitCode FailUsage(const absl::Status& status) {
  PrintError(status);
  return ExitCode::kUsage;
}

}  // namespace tessera
