// One call of any method, from its headers to its end. gRPC is told that every method is a raw
// bidirectional stream: on the wire that is the same as a unary or a server-streaming one, but we
// see the call at its headers, can refuse it before a byte of its message is read, and read the
// bytes ourselves, so that what is wrong with them is told, counted and logged.
//
// A call takes one message; what follows is not read. Keeps itself alive until gRPC is done with
// it. Tests: tests/server/rpc_call_test.cc.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/memory_budget.h"
#include "engine/base/status.h"
#include "server/connections.h"
#include "server/convert.h"
#include "server/engine_slot.h"
#include "server/message_codec.h"
#include "server/rpc_guard.h"
#include "server/submission.h"
#include "server/uploads.h"

namespace tessera {

// What calls use of the server; all must outlive them.
struct CallHost {
  const EngineSlot& slot;
  RpcMetrics& metrics;
  Uploads& uploads;
  Connections& connections;
};

class RpcCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                public Receiver,
                public std::enable_shared_from_this<RpcCall> {
 public:
  ~RpcCall() override;
  // Refuses the call or begins to receive its message. Once, within the handler.
  void Begin();

 protected:
  RpcCall(const CallHost& host, RpcMethod method, grpc::CallbackServerContext* context);

  // The engine that is to do the work, or why the call is refused at its headers.
  virtual absl::StatusOr<Engine*> Admit() = 0;
  // The whole message. An error ends the call; after OK this ends it, by Finish().
  virtual absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) = 0;

  const EngineSlot& slot() const { return host_.slot; }
  RpcGuard& guard() { return guard_; }

 private:
  void OnReadDone(bool ok) final;
  void OnDone() final { self_.reset(); }
  void GiveUp(const absl::Status& status) final { End(status); }
  void End(const absl::Status& status) { Finish(guard_.Answer(status)); }
  absl::Status Receive();

  const CallHost& host_;
  RpcGuard guard_;
  const uint64_t connection_;
  MemoryBudget* memory_ = nullptr;  // set once the call is admitted
  std::atomic<uint64_t> upload_ = 0;
  grpc::ByteBuffer message_;
  std::shared_ptr<RpcCall> self_;  // until OnDone
};

// The engine for new work, while the budget of memory has anything left.
absl::StatusOr<Engine*> AdmitWork(const EngineSlot& slot);

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
