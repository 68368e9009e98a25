// Walks the bytes of a message once, before protobuf allocates anything for them, as a few bytes
// can ask for fifty times their size: finds what is malformed, text that is no UTF-8 and fields
// that occur too often, and tells what the parsed message will hold at most. Driven by the
// message's descriptor, so that a new field cannot be forgotten. Pure functions.
// Tests: tests/server/message_scan_test.cc.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace tessera {

// How often a field may occur in a whole message, wherever it stands. Fields that the table in the
// source does not name may occur kMaxOccurrences times.
constexpr int64_t kMaxOccurrences = 4096;
int64_t MaxOccurrences(std::string_view field);  // its full name

// Bytes of memory that the message of `size` bytes and the request made of it hold at most.
// INVALID_ARGUMENT naming the field and, for what is malformed, the offset in bytes.
absl::StatusOr<int64_t> ScanMessage(const google::protobuf::Descriptor& type,
                                    google::protobuf::io::ZeroCopyInputStream& bytes, int size);

}  // namespace tessera
