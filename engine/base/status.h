// Errors as data: absl::Status with, for what a request did wrong, a machine-readable reason and
// the field it is about, carried as status payloads. The server turns them into
// google.rpc.ErrorInfo and BadRequest; see ErrorReason for the closed list.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera {

// Reasons of `google.rpc.ErrorInfo`; the names are part of the public API.
enum class ErrorReason {
  kInvalidParameter,
  kContextLengthExceeded,
  kKvCapacityExceeded,
  kImageDecodeFailed,
  kImageTooLarge,
  kTooManyImages,
  kModalityNotSupported,
  kModelNotFound,
  kModelLoading,
  kQueueFull,
  kDraining,
  kDeadlineExceeded,
  kShutdownAborted,
  kEngineFailure,
  kSlowReader,
  kUploadTooSlow,
  kMessageTooLarge,
  kMethodNotFound,
};
constexpr int kErrorReasons = 18;

// "INVALID_PARAMETER" …
std::string_view ErrorReasonName(ErrorReason reason);

// A status with its reason and, where one is at fault, the request's field
// ("messages[2].parts[0].image").
absl::Status RequestError(absl::StatusCode code, ErrorReason reason, std::string_view field,
                          const std::string& message);

// INVALID_ARGUMENT with reason INVALID_PARAMETER.
absl::Status InvalidField(std::string_view field, const std::string& message);

// Puts `prefix` before the field's path, if the status names a field; used when a nested part does
// not know where it stands.
absl::Status AtField(const absl::Status& status, std::string_view prefix, ErrorReason reason);

// Empty when the status carries none.
std::string StatusReason(const absl::Status& status);
std::string StatusField(const absl::Status& status);

// The status with one more value of ErrorInfo.metadata, e.g. ("max_context", "2048"): each value
// that changes from error to error, so that programs need not read the message. "retry_after_ms"
// also becomes RetryInfo.
absl::Status WithErrorMetadata(absl::Status status, std::string_view key, const std::string& value);
std::map<std::string, std::string> ErrorMetadata(const absl::Status& status);

// The message as std::string_view (absl::string_view is another type in Debian's abseil).
inline std::string_view StatusMessage(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// The same code with `context` and ": " before the message; OK stays OK. Payloads are kept.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace tessera

#define TESSERA_CONCAT_INNER(a, b) a##b
#define TESSERA_CONCAT(a, b) TESSERA_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                         \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_INNER(TESSERA_CONCAT(status_or_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                              \
  if (!result.ok()) return result.status();                \
  target = std::move(result).value()
