// grpc.health.v1, of calls that are counted, charged and bounded like all others: gRPC's own
// service takes any number of them.
#pragma once

#include "server/health.h"
#include "server/rpc_service.h"

namespace tessera {

class HealthService final : public RpcService {
 public:
  // Both must outlive it.
  HealthService(const CallHost& host, Health& health);
};

}  // namespace tessera
