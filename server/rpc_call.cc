#include "server/rpc_call.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "engine/base/status.h"

namespace tessera {

RpcCall::RpcCall(const CallHost& host, RpcMethod method, grpc::CallbackServerContext* context)
    : host_(host),
      guard_(host.metrics, method, context),
      connection_(host.connections.BeginCall(guard_.peer(), Clock::now())) {}

RpcCall::~RpcCall() { host_.connections.EndCall(connection_, Clock::now()); }

void RpcCall::Begin() {
  self_ = shared_from_this();
  const absl::StatusOr<Engine*> engine = Admit();
  if (!engine.ok()) return End(engine.status());
  guard_.SetStage("receiving");
  memory_ = &(*engine)->memory();
  // Before the upload may be given up: no read is started behind the call's end.
  StartRead(&message_);
  upload_ = host_.uploads.Begin(guard_.peer(), weak_from_this(), *memory_);
}

void RpcCall::OnReadDone(bool ok) {
  const size_t bytes = ok ? message_.Length() : 0;
  if (!host_.uploads.End(upload_, static_cast<int64_t>(bytes))) return message_.Clear();
  if (!ok && guard_.IsCancelled()) return Finish(guard_.Answer(guard_.Lost()));
  const absl::Status status = ok ? Receive() : absl::InvalidArgumentError("there is no message");
  if (!status.ok()) End(status);
}

absl::Status RpcCall::Receive() {
  guard_.SetStage("parsing");
  const auto bytes = static_cast<int64_t>(message_.Length());
  MemoryCharge memory = memory_->Open(MemoryUse::kRequests);
  memory.ForceResize(bytes);
  grpc::ByteBuffer message;
  message.Swap(&message_);
  if (bytes > kMaxUploadBytes) return MessageTooLarge(bytes);
  return Take(std::move(message), std::move(memory));
}

absl::StatusOr<Engine*> AdmitWork(const EngineSlot& slot) {
  ASSIGN_OR_RETURN(Engine* const engine, slot.Get());
  const MemoryBudget& memory = engine->memory();
  if (memory.bytes() >= memory.max_bytes()) {
    return RequestError(
        absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
        fmt::format("requests hold all of the {} bytes there are for them; try again later",
                    memory.max_bytes()));
  }
  return engine;
}

}  // namespace tessera
