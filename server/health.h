// Keeps grpc.health.v1 in step with the readiness of the engine, for "" and for
// tessera.v1.GenerationService. One thread looks twice a second. Tests:
// tests/server/server_test.cc.
#pragma once

#include <grpcpp/health_check_service_interface.h>

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "server/engine_slot.h"

namespace tessera {

class Health {
 public:
  // Both must outlive this.
  Health(const EngineSlot& slot, grpc::HealthCheckServiceInterface& service);

  // Looks now: after the model has been loaded, or a drain has begun.
  void Update();

 private:
  void Watch(std::stop_token stop);

  const EngineSlot& slot_;
  grpc::HealthCheckServiceInterface& service_;
  std::mutex mutex_;  // one update at a time, so that the last look is what stays
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
