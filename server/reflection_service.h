// grpc.reflection, v1 and v1alpha, which are the same on the wire; of calls that are counted,
// charged and bounded like all others, unlike those of gRPC's own plugin.
#pragma once

#include "server/rpc_service.h"

namespace tessera {

class ReflectionService final : public RpcService {
 public:
  // `host` must outlive it.
  explicit ReflectionService(const CallHost& host);
};

}  // namespace tessera
