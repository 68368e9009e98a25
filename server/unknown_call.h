// A call of a method that nobody serves: refused at its headers, counted and logged.
#pragma once

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "server/rpc_call.h"

namespace tessera {

class UnknownCall final : public RpcCall {
 public:
  UnknownCall(const CallHost& host, grpc::GenericCallbackServerContext* context)
      : RpcCall(host, RpcMethod::kUnknown, context), method_(context->method()) {}

 private:
  absl::StatusOr<MemoryBudget*> Admit() override {
    return WithErrorMetadata(
        RequestError(absl::StatusCode::kUnimplemented, ErrorReason::kMethodNotFound, "",
                     fmt::format("there is no method \"{}\" here", method_.substr(0, 128))),
        "method", method_.substr(0, 128));
  }
  absl::Status Take(grpc::ByteBuffer, MemoryCharge) override { return absl::OkStatus(); }

  const std::string method_;
};

class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  explicit UnknownMethods(const CallHost& host) : host_(host) {}

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const auto call = std::make_shared<UnknownCall>(host_, context);
    call->Begin();
    return call.get();
  }

  const CallHost& host_;
};

}  // namespace tessera
