#include "server/health_call.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kMaxNameBytes = 256;

HealthCheckResponse::ServingStatus ToProto(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

absl::StatusOr<std::string> ReadService(grpc::ByteBuffer bytes, MemoryCharge memory) {
  HealthCheckRequest request;
  RETURN_IF_ERROR(ParseMessage(std::move(bytes), memory, request));
  if (request.service().size() > kMaxNameBytes) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter,
                        "service",
                        fmt::format("{} bytes are no service's name; expected at most {}",
                                    request.service().size(), kMaxNameBytes));
  }
  return std::move(*request.mutable_service());
}

grpc::ByteBuffer Response(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  return SerializeMessage(response);
}

}  // namespace

absl::Status CheckHealthCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  ASSIGN_OR_RETURN(const std::string service, ReadService(std::move(bytes), std::move(memory)));
  if (!Health::IsKnown(service)) {
    return RequestError(absl::StatusCode::kNotFound, ErrorReason::kInvalidParameter, "service",
                        fmt::format("there is no service \"{}\" here", service));
  }
  Answer(Response(ToProto(health().serving())));
  return absl::OkStatus();
}

absl::Status WatchHealthCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  ASSIGN_OR_RETURN(const std::string service, ReadService(std::move(bytes), std::move(memory)));
  const bool known = Health::IsKnown(service);
  {
    const std::lock_guard lock(mutex_);
    begun_ = true;
    if (!known) next_ = Response::SERVICE_UNKNOWN;
  }
  guard().SetStage("watching");
  if (known) health().Watch(std::static_pointer_cast<WatchHealthCall>(shared_from_this()));
  if (guard().IsCancelled()) OnCancel();  // which may have come before the message
  Advance();
  return absl::OkStatus();
}

void WatchHealthCall::OnHealth(bool serving) {
  {
    const std::lock_guard lock(mutex_);
    next_ = ToProto(serving);
  }
  Advance();
}

void WatchHealthCall::OnWritten(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    lost_ = lost_ || !ok;
  }
  Advance();
}

void WatchHealthCall::OnCancel() {
  {
    const std::lock_guard lock(mutex_);
    lost_ = true;
  }
  Advance();
}

void WatchHealthCall::Advance() {
  std::optional<HealthCheckResponse::ServingStatus> status;
  {
    const std::lock_guard lock(mutex_);
    if (!begun_ || writing_ || finished_) return;
    if (lost_) {
      finished_ = true;
    } else {
      if (!next_ || *next_ == told_) return;
      told_ = *next_;
      status = std::exchange(next_, std::nullopt);
      writing_ = true;
    }
  }
  status ? Write(tessera::Response(*status)) : End(guard().Lost());
}

}  // namespace tessera
