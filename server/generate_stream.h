// One StreamGenerate call: a queue between the engine's thread, which never waits, and gRPC, which
// takes one write at a time.
//
// Invariants:
//   - One write is in flight at most; Finish() comes once, with none in flight.
//   - What waits to be written is one prompt, one delta and one end: chunks are merged into the
//     delta that waits, so a slow reader gets fewer, larger deltas and its memory is that of the
//     answer. Should that pass `max_pending_bytes` (log-probabilities can), or should a write be
//     given up (PendingWrites), so is the request, with RESOURCE_EXHAUSTED / SLOW_READER.
//   - Nothing is sent, not even headers, before the engine has admitted the request: until then
//     clients may retry elsewhere.
//   - After the reader is gone the engine is told, and the call ends when the engine has let the
//     request go.
//
// The engine holds it, too.
// Tests: tests/server/generate_stream_test.cc.
#pragma once

#include <grpcpp/alarm.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/api/request.h"
#include "server/rpc_call.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

constexpr size_t kMaxPendingBytes = size_t{1} << 20;

class GenerateStream final : public RpcCall, public OutputSink {
 public:
  GenerateStream(const CallHost& host, grpc::CallbackServerContext* context,
                 size_t max_pending_bytes = kMaxPendingBytes)
      : RpcCall(host, RpcMethod::kStreamGenerate, context), max_pending_bytes_(max_pending_bytes) {}

 private:
  // What Advance() found to do.
  enum class Action : uint8_t { kNothing, kWrite, kWriteAndFinish, kFinish };

  absl::StatusOr<MemoryBudget*> Admit() override { return AdmitWork(slot()); }
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
  // The engine's side.
  void OnAdmitted(const PromptInfo& prompt) override;
  void OnChunk(Chunk chunk) override;
  void OnFinish(const Completion& completion) override;
  // gRPC's side.
  void OnWritten(bool ok) override;
  void OnReaderTooSlow() override;
  void OnCancel() override { LoseReader(); }

  // Starts the next write or the end, if one is due. Called after every change, without the lock:
  // gRPC may do the network's work in it.
  void Advance();
  // `event`: what is to be written.
  Action NextLocked(grpc::ByteBuffer& event);
  void GiveUpLocked();
  void LoseReader();

  Submission submission_;
  const size_t max_pending_bytes_;
  std::string model_;  // constant once submitted
  grpc::Alarm cancel_alarm_;

  std::mutex mutex_;
  // Guarded by mutex_:
  std::optional<PromptInfo> prompt_;
  Chunk delta_;
  size_t delta_bytes_ = 0;
  std::optional<Completion> completion_;
  bool writing_ = false;
  bool finished_ = false;     // Finish() has been called or is about to be
  bool reader_gone_ = false;  // cancelled, or a write failed
  bool too_slow_ = false;     // given up
};

}  // namespace tessera
