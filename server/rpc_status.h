// Errors as clients see them: a gRPC status whose trailer holds google.rpc.Status with ErrorInfo
// and, where they apply, BadRequest, ResourceInfo, RetryInfo and RequestInfo
// (https://google.aip.dev/193). Trailers over 8 KB would turn every error into another one at the
// client, so message and details are cut to size. Tests: tests/server/generate_test.cc.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace tessera {

constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxDetailsBytes = 4096;  // of the serialized google.rpc.Status

// `request_id` is what the caller may quote. INTERNAL and UNKNOWN errors keep their message from
// the caller, as it may tell about our insides; the log has it.
grpc::Status ToRpcStatus(const absl::Status& status, std::string_view request_id);

// The reason of calls that their clients have left.
constexpr std::string_view kCancelledReason = "CANCELLED";

// Why: every error has a reason, also one that nobody gave any. Empty for OK.
std::string ReasonOf(const absl::Status& status);

// How long the caller should wait before it tries again; nullopt where waiting does not help.
std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status);

// "INVALID_ARGUMENT" …
std::string_view CodeName(grpc::StatusCode code);

}  // namespace tessera
