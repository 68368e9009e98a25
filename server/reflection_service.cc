#include "server/reflection_service.h"

#include <memory>

#include "server/reflection.h"
#include "server/reflection_call.h"

namespace tessera {

ReflectionService::ReflectionService(const CallHost& host) {
  BuildDescriptors();
  for (const char* method : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    Add(method, [&host](grpc::CallbackServerContext* context) {
      return std::make_shared<ReflectionCall>(host, context);
    });
  }
}

}  // namespace tessera
