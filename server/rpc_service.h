// A service whose methods are calls of ours, under their real names, so that clients and
// reflection see it as it is in its .proto.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <functional>
#include <memory>

#include "server/rpc_call.h"

namespace tessera {

class RpcService : public grpc::Service {
 protected:
  using MakeCall = std::function<std::shared_ptr<RpcCall>(grpc::CallbackServerContext*)>;

  // `path`: "/package.Service/Method", a literal.
  void Add(const char* path, MakeCall make);
};

}  // namespace tessera
