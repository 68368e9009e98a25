#include "server/rpc_status.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>

#include "engine/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tessera {
namespace {

constexpr char kDomain[] = "tessera.v1";
constexpr size_t kMaxFieldBytes = 256;
constexpr size_t kMaxValueBytes = 256;
constexpr char kRetryAfterKey[] = "retry_after_ms";

constexpr std::array<std::string_view, 17> kCodeNames = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

// At most `limit` bytes, no character cut in two.
std::string Cut(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

bool IsOurFault(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInternal ||
         status.code() == absl::StatusCode::kUnknown;
}

bool HasReason(const absl::Status& status, ErrorReason reason) {
  return StatusReason(status) == ErrorReasonName(reason);
}

std::string MessageOf(const absl::Status& status) {
  if (IsOurFault(status)) {
    return "the server failed on this request; its log tells more under the request id";
  }
  const std::string field = Cut(StatusField(status), kMaxFieldBytes);
  const std::string message(StatusMessage(status));
  return Cut(field.empty() ? message : fmt::format("{}: {}", field, message), kMaxMessageBytes);
}

google::rpc::ErrorInfo MakeErrorInfo(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOf(status));
  info.set_domain(kDomain);
  size_t bytes = 0;
  for (const auto& [key, value] : ErrorMetadata(status)) {
    if (key == kRetryAfterKey) continue;
    const std::string cut = Cut(value, kMaxValueBytes);
    bytes += key.size() + cut.size();
    if (bytes > kMaxDetailsBytes / 4) break;
    (*info.mutable_metadata())[key] = cut;
  }
  return info;
}

google::rpc::BadRequest MakeBadRequest(const absl::Status& status) {
  google::rpc::BadRequest request;
  auto* violation = request.add_field_violations();
  violation->set_field(Cut(StatusField(status), kMaxFieldBytes));
  violation->set_description(Cut(std::string(StatusMessage(status)), kMaxMessageBytes));
  return request;
}

google::rpc::ResourceInfo MakeResourceInfo(const absl::Status& status) {
  google::rpc::ResourceInfo info;
  info.set_resource_type("model");
  info.set_resource_name(Cut(ErrorMetadata(status)["model"], kMaxValueBytes));
  info.set_description(Cut(std::string(StatusMessage(status)), kMaxMessageBytes));
  return info;
}

google::rpc::RetryInfo MakeRetryInfo(std::chrono::milliseconds delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay.count() % 1000 * 1'000'000));
  return info;
}

}  // namespace

std::string ReasonOf(const absl::Status& status) {
  const std::string reason = StatusReason(status);
  if (status.ok() || !reason.empty()) return reason;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return std::string(ErrorReasonName(ErrorReason::kInvalidParameter));
    case absl::StatusCode::kDeadlineExceeded:
      return std::string(ErrorReasonName(ErrorReason::kDeadlineExceeded));
    case absl::StatusCode::kCancelled:
      return std::string(kCancelledReason);
    default:
      return std::string(ErrorReasonName(ErrorReason::kEngineFailure));
  }
}

std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status) {
  using std::chrono::milliseconds;
  const auto metadata = ErrorMetadata(status);
  if (const auto found = metadata.find(kRetryAfterKey); found != metadata.end()) {
    int64_t value = 0;
    const char* end = found->second.data() + found->second.size();
    if (std::from_chars(found->second.data(), end, value).ec == std::errc() && value >= 0) {
      return milliseconds(value);
    }
  }
  if (HasReason(status, ErrorReason::kQueueFull)) return milliseconds(1000);
  if (HasReason(status, ErrorReason::kModelLoading)) return milliseconds(5000);
  if (HasReason(status, ErrorReason::kDraining)) return milliseconds(0);  // at another replica
  return std::nullopt;
}

grpc::Status ToRpcStatus(const absl::Status& status, std::string_view request_id) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(MessageOf(status));
  details.add_details()->PackFrom(MakeErrorInfo(status));
  if (IsOurFault(status)) {
    google::rpc::RequestInfo info;
    info.set_request_id(std::string(request_id));
    details.add_details()->PackFrom(info);
  } else if (HasReason(status, ErrorReason::kModelNotFound)) {
    details.add_details()->PackFrom(MakeResourceInfo(status));
  } else if (!StatusField(status).empty()) {
    details.add_details()->PackFrom(MakeBadRequest(status));
  }
  if (const auto delay = RetryDelay(status)) {
    details.add_details()->PackFrom(MakeRetryInfo(*delay));
  }
  // The parts' limits add up to less than the whole's; were that ever wrong, the first detail tells
  // most.
  while (details.ByteSizeLong() > kMaxDetailsBytes && details.details_size() > 0) {
    details.mutable_details()->RemoveLast();
  }
  return {static_cast<grpc::StatusCode>(status.code()), details.message(),
          details.SerializeAsString()};
}

std::string_view CodeName(grpc::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < kCodeNames.size() ? kCodeNames[index] : kCodeNames[grpc::StatusCode::UNKNOWN];
}

}  // namespace tessera
