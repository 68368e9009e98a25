#include "server/reflection_call.h"

#include <fmt/format.h>

#include <utility>

#include "engine/base/status.h"
#include "server/reflection.h"

namespace tessera {
namespace {

constexpr int64_t kMaxRequestBytes = 4096;  // it comes back in the response

}  // namespace

absl::Status ReflectionCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  if (memory.bytes() > kMaxRequestBytes) {
    return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kMessageTooLarge, "",
                        fmt::format("the request has {} bytes; expected at most {}", memory.bytes(),
                                    kMaxRequestBytes));
  }
  grpc::reflection::v1::ServerReflectionRequest request;
  RETURN_IF_ERROR(ParseMessage(std::move(bytes), memory, request));
  Write(SerializeMessage(Reflect(std::move(request))));
  return absl::OkStatus();
}

}  // namespace tessera
