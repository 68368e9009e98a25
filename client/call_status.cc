#include "client/call_status.h"

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tessera {
namespace {

// The payload of message type T, parsed; empty when the status has none.
template <typename T>
std::optional<T> Detail(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/" + T::descriptor()->full_name());
  T detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

}  // namespace

absl::Status CallStatus(int code, const std::string& message, const std::string& details) {
  absl::Status status(static_cast<absl::StatusCode>(code), message);
  google::rpc::Status rich;
  if (status.ok() || !rich.ParseFromString(details)) return status;
  for (const auto& detail : rich.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  if (const auto info = Detail<google::rpc::ErrorInfo>(status)) details.reason = info->reason();
  if (const auto bad = Detail<google::rpc::BadRequest>(status);
      bad && bad->field_violations_size() > 0) {
    details.field = bad->field_violations(0).field();
  }
  if (const auto retry = Detail<google::rpc::RetryInfo>(status)) {
    details.retry_after = absl::Seconds(retry->retry_delay().seconds()) +
                          absl::Nanoseconds(retry->retry_delay().nanos());
  }
  return details;
}

}  // namespace tessera
