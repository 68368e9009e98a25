#include "server/message_codec.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "server/message_scan.h"

namespace tessera {

absl::Status ParseMessage(grpc::ByteBuffer bytes, MemoryCharge& memory,
                          google::protobuf::Message& message) {
  int64_t held = 0;
  {
    grpc::ProtoBufferReader reader(&bytes);
    ASSIGN_OR_RETURN(
        held, ScanMessage(*message.GetDescriptor(), reader, static_cast<int>(bytes.Length())));
  }
  RETURN_IF_ERROR(memory.Resize(static_cast<int64_t>(bytes.Length()) + held));
  {
    grpc::ProtoBufferReader reader(&bytes);
    if (!message.ParseFromZeroCopyStream(&reader)) {
      return absl::InvalidArgumentError("the message is malformed");
    }
  }
  bytes.Clear();
  return memory.Resize(held);
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &bytes, &own_buffer);
  TESSERA_CHECK(status.ok());
  return bytes;
}

}  // namespace tessera
