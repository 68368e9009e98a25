// Messages from and to the bytes that gRPC carries. Tests: tests/server/rpc_call_test.cc.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "engine/base/memory_budget.h"

namespace tessera {

// `memory` holds the bytes; afterwards it holds the message, and the bytes are freed. Errors:
// ScanMessage's and the budget's.
absl::Status ParseMessage(grpc::ByteBuffer bytes, MemoryCharge& memory,
                          google::protobuf::Message& message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace tessera
