// Calls of grpc.health.v1. They answer also while the model loads and while the server drains.
// Tests: tests/server/health_test.cc.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "grpc/health/v1/health.pb.h"
#include "server/health.h"
#include "server/rpc_call.h"

namespace tessera {

class HealthCall : public RpcCall {
 protected:
  HealthCall(const CallHost& host, RpcMethod method, grpc::CallbackServerContext* context,
             Health& health)
      : RpcCall(host, method, context), health_(health) {}

  absl::StatusOr<MemoryBudget*> Admit() override { return &own_memory(); }
  Health& health() { return health_; }

 private:
  Health& health_;
};

// The status now.
class CheckHealthCall final : public HealthCall {
 public:
  CheckHealthCall(const CallHost& host, grpc::CallbackServerContext* context, Health& health)
      : HealthCall(host, RpcMethod::kCheckHealth, context, health) {}

 private:
  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
};

// The status now and whenever it changes, until the client leaves; changes behind the back of a
// slow reader become one.
class WatchHealthCall final : public HealthCall, public HealthWatcher {
 public:
  WatchHealthCall(const CallHost& host, grpc::CallbackServerContext* context, Health& health)
      : HealthCall(host, RpcMethod::kWatchHealth, context, health) {}

 private:
  using Response = grpc::health::v1::HealthCheckResponse;

  absl::Status Take(grpc::ByteBuffer bytes, MemoryCharge memory) override;
  void OnHealth(bool serving) override;
  void OnWritten(bool ok) override;
  void OnCancel() override;

  void Advance();

  std::mutex mutex_;
  // Guarded by mutex_:
  bool begun_ = false;                           // the message is there
  std::optional<Response::ServingStatus> next_;  // not told yet
  Response::ServingStatus told_ = Response::UNKNOWN;
  bool writing_ = false;
  bool lost_ = false;
  bool finished_ = false;
};

}  // namespace tessera
