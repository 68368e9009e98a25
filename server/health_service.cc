#include "server/health_service.h"

#include <memory>

#include "server/health_call.h"

namespace tessera {

HealthService::HealthService(const CallHost& host, Health& health) {
  Add("/grpc.health.v1.Health/Check", [&](grpc::CallbackServerContext* context) {
    return std::make_shared<CheckHealthCall>(host, context, health);
  });
  Add("/grpc.health.v1.Health/Watch", [&](grpc::CallbackServerContext* context) {
    return std::make_shared<WatchHealthCall>(host, context, health);
  });
}

}  // namespace tessera
