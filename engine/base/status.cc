#include "engine/base/status.h"

#include <array>

#include "absl/strings/cord.h"

namespace tessera {
namespace {

constexpr char kReasonUrl[] = "tessera/reason";
constexpr char kFieldUrl[] = "tessera/field";
constexpr std::string_view kMetadataUrl = "tessera/metadata/";  // followed by the key

constexpr std::array<std::string_view, kErrorReasons> kReasonNames = {
    "INVALID_PARAMETER",
    "CONTEXT_LENGTH_EXCEEDED",
    "KV_CAPACITY_EXCEEDED",
    "IMAGE_DECODE_FAILED",
    "IMAGE_TOO_LARGE",
    "TOO_MANY_IMAGES",
    "MODALITY_NOT_SUPPORTED",
    "MODEL_NOT_FOUND",
    "MODEL_LOADING",
    "QUEUE_FULL",
    "DRAINING",
    "DEADLINE_EXCEEDED",
    "SHUTDOWN_ABORTED",
    "ENGINE_FAILURE",
    "SLOW_READER",
    "UPLOAD_TOO_SLOW",
    "MESSAGE_TOO_LARGE",
    "METHOD_NOT_FOUND",
};

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

std::string_view ErrorReasonName(ErrorReason reason) {
  return kReasonNames.at(static_cast<size_t>(reason));
}

absl::Status RequestError(absl::StatusCode code, ErrorReason reason, std::string_view field,
                          const std::string& message) {
  absl::Status status(code, message);
  status.SetPayload(kReasonUrl, absl::Cord(std::string(ErrorReasonName(reason))));
  if (!field.empty()) status.SetPayload(kFieldUrl, absl::Cord(std::string(field)));
  return status;
}

absl::Status InvalidField(std::string_view field, const std::string& message) {
  return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter, field,
                      message);
}

absl::Status AtField(const absl::Status& status, std::string_view prefix, ErrorReason reason) {
  if (status.ok()) return status;
  const std::string inner = StatusField(status);
  std::string field(prefix);
  if (!inner.empty()) field += "." + inner;
  absl::Status placed = status;
  if (StatusReason(status).empty()) {
    placed.SetPayload(kReasonUrl, absl::Cord(std::string(ErrorReasonName(reason))));
  }
  placed.SetPayload(kFieldUrl, absl::Cord(field));
  return placed;
}

std::string StatusReason(const absl::Status& status) { return Payload(status, kReasonUrl); }
std::string StatusField(const absl::Status& status) { return Payload(status, kFieldUrl); }

absl::Status WithErrorMetadata(absl::Status status, std::string_view key,
                               const std::string& value) {
  status.SetPayload(std::string(kMetadataUrl) + std::string(key), absl::Cord(value));
  return status;
}

std::map<std::string, std::string> ErrorMetadata(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    const std::string_view name(url.data(), url.size());
    if (!name.starts_with(kMetadataUrl)) return;
    metadata[std::string(name.substr(kMetadataUrl.size()))] = std::string(payload);
  });
  return metadata;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         std::string(context) + ": " + std::string(StatusMessage(status)));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace tessera
