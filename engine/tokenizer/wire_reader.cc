#include "engine/tokenizer/wire_reader.h"

#include <fmt/format.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr uint64_t kMaxFieldNumber = (1u << 29) - 1;

}  // namespace

absl::StatusOr<uint64_t> WireReader::ReadVarint() {
  uint64_t value = 0;
  for (size_t i = 0; i < 10; ++i) {
    if (i == rest_.size()) {
      return absl::InvalidArgumentError(fmt::format("byte {}: a number is cut off", offset_));
    }
    const auto byte = static_cast<uint8_t>(rest_[i]);
    if (i == 9 && byte > 1) break;
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      offset_ += i + 1;
      return value;
    }
  }
  return absl::InvalidArgumentError(fmt::format("byte {}: a number of over 64 bits", offset_));
}

absl::StatusOr<std::string_view> WireReader::ReadBytes(uint64_t count) {
  if (count > rest_.size()) {
    return absl::InvalidArgumentError(
        fmt::format("byte {}: a field of {} bytes, but {} are left", offset_, count, rest_.size()));
  }
  const std::string_view bytes = rest_.substr(0, count);
  rest_.remove_prefix(count);
  offset_ += count;
  return bytes;
}

absl::StatusOr<uint64_t> WireReader::ReadFixed(size_t bytes) {
  ASSIGN_OR_RETURN(const std::string_view little_endian, ReadBytes(bytes));
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) {
    value |= static_cast<uint64_t>(static_cast<uint8_t>(little_endian[i])) << (8 * i);
  }
  return value;
}

absl::StatusOr<std::optional<WireField>> WireReader::Next() {
  if (rest_.empty()) return std::nullopt;
  const size_t begin = offset_;
  ASSIGN_OR_RETURN(const uint64_t key, ReadVarint());
  const uint64_t number = key >> 3;
  WireField field;
  field.type = static_cast<WireField::Type>(key & 7);
  if (number == 0 || number > kMaxFieldNumber) {
    return absl::InvalidArgumentError(fmt::format("byte {}: {} is no field number", begin, number));
  }
  field.number = static_cast<uint32_t>(number);
  switch (field.type) {
    case WireField::Type::kVarint: {
      ASSIGN_OR_RETURN(field.value, ReadVarint());
      return field;
    }
    case WireField::Type::kFixed64: {
      ASSIGN_OR_RETURN(field.value, ReadFixed(8));
      return field;
    }
    case WireField::Type::kFixed32: {
      ASSIGN_OR_RETURN(field.value, ReadFixed(4));
      return field;
    }
    case WireField::Type::kBytes: {
      ASSIGN_OR_RETURN(const uint64_t count, ReadVarint());
      field.offset = offset_;
      ASSIGN_OR_RETURN(field.bytes, ReadBytes(count));
      return field;
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("byte {}: wire type {} is not supported", begin, key & 7));
}

}  // namespace tessera
