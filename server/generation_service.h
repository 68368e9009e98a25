// tessera.v1.GenerationService: each call is an object of its own.
#pragma once

#include "server/rpc_service.h"
#include "server/task_queue.h"

namespace tessera {

class GenerationService final : public RpcService {
 public:
  // `host` must outlive the service.
  explicit GenerationService(const CallHost& host);

 private:
  TaskQueue counting_{64};
};

}  // namespace tessera
