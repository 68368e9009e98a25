// One StreamGenerate call: a queue between the engine's thread, which never waits, and gRPC, which
// takes one write at a time.
//
// Invariants:
//   - One write is in flight at most; Finish() comes once, with none in flight.
//   - What waits to be written is one prompt, one delta and one end: chunks are merged into the
//     delta that waits, so a slow reader gets fewer, larger deltas and its memory is that of the
//     answer. Should that pass `max_pending_bytes` (log-probabilities can), the request is given up
//     with RESOURCE_EXHAUSTED / SLOW_READER.
//   - Nothing is sent, not even headers, before the engine has admitted the request: until then
//     clients may retry elsewhere.
//   - After the reader is gone the engine is told, and the call ends when the engine has let the
//     request go.
//
// Keeps itself alive until gRPC is done with it; the engine holds it too.
// Tests: tests/server/generate_stream_test.cc.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/request.h"
#include "server/rpc_guard.h"
#include "server/submission.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

constexpr size_t kMaxPendingBytes = size_t{1} << 20;

class GenerateStream final : public grpc::ServerWriteReactor<v1::StreamGenerateResponse>,
                             public OutputSink,
                             public std::enable_shared_from_this<GenerateStream> {
 public:
  GenerateStream(RpcMetrics& metrics, grpc::CallbackServerContext* context,
                 const std::string& request_id, size_t max_pending_bytes = kMaxPendingBytes);

  RpcGuard& guard() { return guard_; }
  // Does the work, or ends the call with the refusal. Once, within the handler.
  void Start(absl::StatusOr<Work> work);

 private:
  // What Advance() found to do.
  enum class Action : uint8_t { kNothing, kWrite, kWriteAndFinish, kFinish };

  // The engine's side.
  void OnAdmitted(const PromptInfo& prompt) override;
  void OnChunk(Chunk chunk) override;
  void OnFinish(const Completion& completion) override;
  // gRPC's side.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Starts the next write or the end, if one is due. Called after every change, without the lock:
  // gRPC may do the network's work in it.
  void Advance();
  Action NextLocked();
  void GiveUpLocked();
  // Tells the engine, unless the deadline, which it knows, is why.
  void LoseReader();

  RpcGuard guard_;
  Submission submission_;
  const size_t max_pending_bytes_;
  std::string model_;  // constant after Start
  grpc::Alarm cancel_alarm_;
  std::shared_ptr<GenerateStream> self_;  // until OnDone
  v1::StreamGenerateResponse response_;   // belongs to the write in flight

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
