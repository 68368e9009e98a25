// tessera.v1.ModelService: each call is an object of its own.
#pragma once

#include "server/rpc_service.h"

namespace tessera {

class ModelService final : public RpcService {
 public:
  // `host` must outlive the service.
  explicit ModelService(const CallHost& host);
};

}  // namespace tessera
