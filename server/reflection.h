// What the server's .proto files say, for tools that have none: grpc.reflection over the
// descriptors that are compiled in. Tests: tests/server/reflection_test.cc.
#pragma once

#include "grpc/reflection/v1/reflection.pb.h"

namespace tessera {

// Builds what protobuf knows of the messages that are served. Else the first call of each does, and
// one that finds no memory for it ends the process.
void BuildDescriptors();

// Never fails: what is not there is an ErrorResponse.
grpc::reflection::v1::ServerReflectionResponse Reflect(
    grpc::reflection::v1::ServerReflectionRequest request);

}  // namespace tessera
