// Reads the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding)
// field by field, without a schema.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace tessera {

struct WireField {
  enum class Type { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint32_t number = 0;
  Type type = Type::kVarint;
  uint64_t value = 0;      // of the three numeric types
  std::string_view bytes;  // of kBytes: a view into the message
  size_t offset = 0;       // of `bytes`, from the beginning of the file
};

class WireReader {
 public:
  // `message` must outlive this; `offset`: where it begins in its file, for errors.
  explicit WireReader(std::string_view message, size_t offset = 0)
      : rest_(message), offset_(offset) {}

  // The next field, or nothing at the end. InvalidArgument names the byte where the message is cut
  // off or no message.
  absl::StatusOr<std::optional<WireField>> Next();

 private:
  absl::StatusOr<uint64_t> ReadVarint();
  absl::StatusOr<std::string_view> ReadBytes(uint64_t count);
  absl::StatusOr<uint64_t> ReadFixed(size_t bytes);

  std::string_view rest_;
  size_t offset_;
};

}  // namespace tessera
