#include "server/rpc_service.h"

#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>

#include <utility>

namespace tessera {

void RpcService::Add(const char* path, MakeCall make) {
  using grpc::internal::RpcMethod;
  using grpc::internal::RpcServiceMethod;
  using Handler = grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>;
  auto* const handler = new Handler([make = std::move(make)](grpc::CallbackServerContext* context) {
    const std::shared_ptr<RpcCall> call = make(context);
    call->Begin();
    return call.get();
  });
  // Both belong to those that they are given to.
  auto* const method = new RpcServiceMethod(path, RpcMethod::BIDI_STREAMING, handler);
  method->SetServerApiType(RpcServiceMethod::ApiType::RAW_CALL_BACK);
  AddMethod(method);
}

}  // namespace tessera
