// Where the services find the engine: empty while the model loads, then filled once, closed when
// the server drains. Answers the question of every readiness probe. Thread-safe. Tests:
// tests/server/server_test.cc.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace tessera {

struct Readiness {
  bool ready = false;
  std::string reason;  // one line for the person who asks
};

class EngineSlot {
 public:
  // How much of the weights has been read.
  void SetProgress(int64_t done_bytes, int64_t total_bytes);
  // From now on requests are taken. Once; the engine must outlive the slot's users.
  void Publish(Engine* engine, double load_seconds);
  // From now on requests are refused.
  void StartDrain() { draining_ = true; }
  // Why clients get no answer from the gRPC port; empty: they get one.
  void SetPortFault(std::string fault);

  // The engine for new work, or UNAVAILABLE with reason MODEL_LOADING or DRAINING.
  absl::StatusOr<Engine*> Get() const;
  // The engine for questions about it; null while the model loads.
  Engine* engine() const { return engine_; }
  double load_seconds() const { return load_seconds_; }

  // Ready: the model is loaded, we do not drain, the engine's thread comes round, no thread that
  // prepares requests is stuck, and the gRPC port answers.
  Readiness CheckReadiness() const;

 private:
  std::string LoadingText() const;

  std::atomic<Engine*> engine_ = nullptr;
  std::atomic<double> load_seconds_ = 0;
  std::atomic<bool> draining_ = false;
  std::atomic<int64_t> done_bytes_ = 0;
  std::atomic<int64_t> total_bytes_ = 0;
  mutable std::mutex mutex_;
  std::string port_fault_;
};

}  // namespace tessera
