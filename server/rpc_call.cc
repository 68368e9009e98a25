#include "server/rpc_call.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "engine/base/status.h"

namespace tessera {

namespace {

CallKind KindOf(RpcMethod method) {
  return method == RpcMethod::kWatchHealth ? CallKind::kHeld : CallKind::kWork;
}

}  // namespace

RpcCall::RpcCall(const CallHost& host, RpcMethod method, grpc::CallbackServerContext* context)
    : host_(host),
      guard_(host.metrics, method, context),
      connection_(host.connections.BeginCall(guard_.peer(), Clock::now(), KindOf(method))) {}

RpcCall::~RpcCall() {
  host_.connections.EndCall(connection_, Clock::now(), KindOf(guard_.method()));
}

void RpcCall::Begin() {
  self_ = shared_from_this();
  const absl::StatusOr<MemoryBudget*> memory = Admit();
  if (!memory.ok()) return End(memory.status());
  guard_.SetStage("receiving");
  memory_ = *memory;
  ReceiveNext();
}

void RpcCall::ReceiveNext() {
  // First, since the message may be there already.
  upload_ = host_.uploads.Begin(guard_.peer(), weak_from_this(), *memory_);
  const std::lock_guard lock(mutex_);
  if (!given_up_) StartRead(&message_);
}

void RpcCall::GiveUp(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    given_up_ = true;
  }
  End(status);
}

void RpcCall::OnReadDone(bool ok) {
  const size_t bytes = ok ? message_.Length() : 0;
  if (!host_.uploads.End(upload_, static_cast<int64_t>(bytes))) return message_.Clear();
  if (!ok && guard_.IsCancelled()) return End(guard_.Lost());
  if (!ok && taken_) return OnNoMore();
  const absl::Status status =
      ok ? TakeMessage() : absl::InvalidArgumentError("there is no message");
  if (!status.ok()) End(status);
}

absl::Status RpcCall::TakeMessage() {
  taken_ = true;
  guard_.SetStage("parsing");
  const auto bytes = static_cast<int64_t>(message_.Length());
  MemoryCharge memory = memory_->Open(MemoryUse::kRequests);
  memory.ForceResize(bytes);
  grpc::ByteBuffer message;
  message.Swap(&message_);
  if (bytes > kMaxUploadBytes) return MessageTooLarge(bytes);
  return Take(std::move(message), std::move(memory));
}

void RpcCall::NoteWrite() {
  sent_bytes_ = sent_.Length();
  write_ = host_.writes.Begin(weak_from_this(), static_cast<int64_t>(sent_bytes_), *memory_);
}

void RpcCall::Write(grpc::ByteBuffer message) {
  sent_.Swap(&message);
  NoteWrite();
  StartWrite(&sent_);
}

void RpcCall::WriteAndFinish(grpc::ByteBuffer message, const grpc::Status& status) {
  sent_.Swap(&message);
  NoteWrite();
  StartWriteAndFinish(&sent_, grpc::WriteOptions(), status);
}

void RpcCall::NotePending(size_t bytes) {
  host_.writes.Resize(write_, static_cast<int64_t>(sent_bytes_ + bytes));
}

void RpcCall::OnWriteDone(bool ok) {
  host_.writes.End(write_.exchange(0));
  OnWritten(ok);
}

void RpcCall::OnDone() {
  host_.writes.End(write_);
  const std::shared_ptr<RpcCall> self = std::move(self_);  // whose end comes after the lock's
  const std::lock_guard lock(mutex_);
  done_ = true;
}

void RpcCall::AbandonWrite() {
  OnReaderTooSlow();
  const std::lock_guard lock(mutex_);
  if (!done_) guard_.Abandon();
}

absl::StatusOr<MemoryBudget*> AdmitWork(const EngineSlot& slot) {
  ASSIGN_OR_RETURN(Engine* const engine, slot.Get());
  MemoryBudget& memory = engine->memory();
  if (memory.bytes() >= memory.max_bytes()) {
    return RequestError(
        absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
        fmt::format("requests hold all of the {} bytes there are for them; try again later",
                    memory.max_bytes()));
  }
  return &memory;
}

}  // namespace tessera
