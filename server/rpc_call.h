// One call of any method, from its headers to its end. gRPC is told that every method is a raw
// bidirectional stream: on the wire that is the same as a unary or a server-streaming one, but we
// see the call at its headers, can refuse it before a byte of its message is read, and read the
// bytes ourselves, so that what is wrong with them is told, counted and logged.
//
// A call takes one message, and what follows only where it asks for more. Keeps itself alive until
// gRPC is done with it. Tests: tests/server/rpc_call_test.cc.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/memory_budget.h"
#include "engine/base/status.h"
#include "server/connections.h"
#include "server/convert.h"
#include "server/engine_slot.h"
#include "server/message_codec.h"
#include "server/pending_writes.h"
#include "server/rpc_guard.h"
#include "server/submission.h"
#include "server/uploads.h"

namespace tessera {

// What calls use of the server; all must outlive them.
struct CallHost {
  const EngineSlot& slot;
  RpcMetrics& metrics;
  Uploads& uploads;
  PendingWrites& writes;
  Connections& connections;
  MemoryBudget& own_memory;  // of calls that ask of the server itself
};

class RpcCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                public Receiver,
                public Writer,
                public std::enable_shared_from_this<RpcCall> {
 public:
  ~RpcCall() override;
  // Refuses the call or begins to receive its message. Once, within the handler.
  void Begin();

 protected:
  RpcCall(const CallHost& host, RpcMethod method, grpc::CallbackServerContext* context);

  // The budget of its messages, or why the call is refused at its headers.
  virtual absl::StatusOr<MemoryBudget*> Admit() = 0;
  // The whole message. An error ends the call; after OK one of those below ends it.
  virtual absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) = 0;
  // Another message, for another Take(), in which the call may ask for it.
  void ReceiveNext();
  // After ReceiveNext(): there is no other.
  virtual void OnNoMore() {}
  // Write() has ended; without `ok` the client is gone.
  virtual void OnWritten(bool /*ok*/) {}
  // Before the call is cancelled because its client does not read.
  virtual void OnReaderTooSlow() {}

  // Sends a message of several. The next one, or the end, when OnWritten() has come.
  void Write(grpc::ByteBuffer message);
  // So many bytes wait behind the write in flight.
  void NotePending(size_t bytes);
  // The end: with a last message, or with none.
  void WriteAndFinish(grpc::ByteBuffer message, const grpc::Status& status);
  void Answer(grpc::ByteBuffer message) {
    WriteAndFinish(std::move(message), guard_.Answer(absl::OkStatus()));
  }
  void End(const absl::Status& status) { Finish(guard_.Answer(status)); }
  void End(const Completion& completion) { Finish(guard_.Answer(completion)); }

  const EngineSlot& slot() const { return host_.slot; }
  MemoryBudget& own_memory() const { return host_.own_memory; }
  RpcGuard& guard() { return guard_; }

 private:
  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnDone() final;
  void GiveUp(const absl::Status& status) final;
  void AbandonWrite() final;
  absl::Status TakeMessage();
  void NoteWrite();

  const CallHost& host_;
  RpcGuard guard_;
  const uint64_t connection_;
  MemoryBudget* memory_ = nullptr;  // set once the call is admitted
  bool taken_ = false;              // one at least
  std::atomic<uint64_t> upload_ = 0;
  grpc::ByteBuffer message_;
  grpc::ByteBuffer sent_;  // belongs to the write in flight
  std::atomic<uint64_t> write_ = 0;
  std::atomic<size_t> sent_bytes_ = 0;
  // Not for what gRPC calls: it may do so within what we call.
  std::recursive_mutex mutex_;
  bool given_up_ = false;          // guarded by mutex_: no read is started behind the call's end
  bool done_ = false;              // guarded by mutex_: gRPC's context lives until OnDone() is over
  std::shared_ptr<RpcCall> self_;  // until OnDone
};

// The engine's budget, for new work, while it has anything left.
absl::StatusOr<MemoryBudget*> AdmitWork(const EngineSlot& slot);

// The engine and the checked request that the message asks for.
template <typename Message>
absl::StatusOr<Work> MakeWork(const EngineSlot& slot, RpcGuard& guard, grpc::ByteBuffer bytes,
                              MemoryCharge memory) {
  Message message;
  RETURN_IF_ERROR(ParseMessage(std::move(bytes), memory, message));
  if constexpr (requires { message.request_id(); }) guard.TakeRequestId(message.request_id());
  ASSIGN_OR_RETURN(Engine* const engine, slot.Get());
  ASSIGN_OR_RETURN(Request request, ToRequest(std::move(message), engine->model(), guard.call()));
  request.memory = std::make_shared<MemoryCharge>(std::move(memory));
  return Work{.engine = engine, .request = std::move(request)};
}

}  // namespace tessera
