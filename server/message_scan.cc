#include "server/message_scan.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/utf8_check.h"

namespace tessera {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::CodedInputStream;

// More than protobuf's own objects, vectors that grow and the allocator's heads take.
constexpr int64_t kMessageBytes = 256;
constexpr int64_t kStringBytes = 96;
constexpr int64_t kScalarBytes = 16;
constexpr int64_t kUnknownBytes = 96;
// Strings up to this size are allocated at once, larger ones grow and are copied.
constexpr int64_t kReservedBytes = 50'000'000;
constexpr int kMaxGroupDepth = 100;  // protobuf's own

enum WireType : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kLength = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

WireType WireTypeOf(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
    case FieldDescriptor::TYPE_DOUBLE:
      return kFixed64;
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
    case FieldDescriptor::TYPE_FLOAT:
      return kFixed32;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_MESSAGE:
      return kLength;
    case FieldDescriptor::TYPE_GROUP:
      return kStartGroup;
    default:
      return kVarint;
  }
}

class Scan {
 public:
  Scan(CodedInputStream& input, int size) : input_(input), size_(size) {}

  absl::Status Message(const Descriptor& type);
  int64_t held_bytes() const { return held_bytes_; }

 private:
  struct Step {
    const FieldDescriptor* field = nullptr;
    int index = 0;  // of a repeated field's element
  };

  absl::Status Field(const Descriptor& type, uint32_t tag, std::vector<int>& elements);
  absl::Status Known(const FieldDescriptor& field, WireType wire);
  absl::Status Length(const FieldDescriptor& field);
  absl::Status Packed(const FieldDescriptor& field);
  absl::Status String(const FieldDescriptor& field, int length);
  absl::Status Unknown(uint32_t number, WireType wire, int depth);
  absl::Status Scalar(WireType wire);
  absl::StatusOr<int> ReadLength();
  absl::Status Count(const FieldDescriptor& field);
  absl::Status Malformed(std::string_view what) const;
  std::string Path() const;

  CodedInputStream& input_;
  const int size_;
  int64_t held_bytes_ = 0;
  int64_t unknown_ = 0;
  std::vector<Step> path_;
  std::unordered_map<const FieldDescriptor*, int64_t> occurrences_;
};

std::string Scan::Path() const {
  std::string path;
  for (const Step& step : path_) {
    if (!path.empty()) path += '.';
    path += std::string(step.field->name());
    if (step.field->is_repeated()) path += fmt::format("[{}]", step.index);
  }
  return path;
}

absl::Status Scan::Malformed(std::string_view what) const {
  const std::string offset = std::to_string(input_.CurrentPosition());
  return WithErrorMetadata(
      InvalidField(Path(), fmt::format("the message is malformed at byte {} of {}: {}", offset,
                                       size_, what)),
      "byte_offset", offset);
}

absl::Status Scan::Count(const FieldDescriptor& field) {
  const int64_t most = MaxOccurrences(field.full_name());
  if (++occurrences_[&field] <= most) return absl::OkStatus();
  return InvalidField(Path(), fmt::format("there are more than {} of these in the request; at "
                                          "most so many are taken",
                                          most));
}

absl::Status Scan::Message(const Descriptor& type) {
  const google::protobuf::Message* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type);
  held_bytes_ += kMessageBytes;
  if (prototype != nullptr) held_bytes_ += static_cast<int64_t>(prototype->SpaceUsedLong());
  std::vector<int> elements(static_cast<size_t>(type.field_count()));
  while (input_.BytesUntilLimit() > 0) {
    uint64_t tag = 0;
    if (!input_.ReadVarint64(&tag) || tag > std::numeric_limits<uint32_t>::max()) {
      return Malformed("a field's number is wrong or cut off");
    }
    RETURN_IF_ERROR(Field(type, static_cast<uint32_t>(tag), elements));
  }
  return absl::OkStatus();
}

absl::Status Scan::Field(const Descriptor& type, uint32_t tag, std::vector<int>& elements) {
  const auto wire = static_cast<WireType>(tag & 7);
  const uint32_t number = tag >> 3;
  if (number == 0) return Malformed("a field has the number 0");
  const FieldDescriptor* field = type.FindFieldByNumber(static_cast<int>(number));
  const bool packed = field != nullptr && field->is_packable() && wire == kLength;
  if (field == nullptr || (wire != WireTypeOf(*field) && !packed)) return Unknown(number, wire, 0);
  path_.push_back({field, elements[static_cast<size_t>(field->index())]++});
  RETURN_IF_ERROR(packed ? Packed(*field) : Known(*field, wire));
  path_.pop_back();
  return absl::OkStatus();
}

absl::Status Scan::Known(const FieldDescriptor& field, WireType wire) {
  RETURN_IF_ERROR(Count(field));
  if (wire == kLength) return Length(field);
  if (field.is_repeated()) held_bytes_ += kScalarBytes;
  return Scalar(wire);
}

absl::StatusOr<int> Scan::ReadLength() {
  uint64_t length = 0;
  if (!input_.ReadVarint64(&length)) return Malformed("a length is cut off");
  const auto left = static_cast<uint64_t>(std::max(input_.BytesUntilLimit(), 0));
  if (length > left) {
    return Malformed(fmt::format("a field of {} bytes, where {} are left", length, left));
  }
  return static_cast<int>(length);
}

absl::Status Scan::Length(const FieldDescriptor& field) {
  ASSIGN_OR_RETURN(const int length, ReadLength());
  if (field.type() == FieldDescriptor::TYPE_STRING) return String(field, length);
  if (field.type() == FieldDescriptor::TYPE_BYTES) {
    held_bytes_ += kStringBytes + int64_t{length} * (length > kReservedBytes ? 3 : 1);
    return input_.Skip(length) ? absl::OkStatus() : Malformed("bytes are cut off");
  }
  const CodedInputStream::Limit outer = input_.PushLimit(length);
  RETURN_IF_ERROR(Message(*field.message_type()));
  input_.PopLimit(outer);
  return absl::OkStatus();
}

absl::Status Scan::Packed(const FieldDescriptor& field) {
  ASSIGN_OR_RETURN(const int length, ReadLength());
  const CodedInputStream::Limit outer = input_.PushLimit(length);
  while (input_.BytesUntilLimit() > 0) {
    RETURN_IF_ERROR(Count(field));
    held_bytes_ += kScalarBytes;
    RETURN_IF_ERROR(Scalar(WireTypeOf(field)));
    ++path_.back().index;
  }
  input_.PopLimit(outer);
  return absl::OkStatus();
}

absl::Status Scan::String(const FieldDescriptor& field, int length) {
  held_bytes_ += kStringBytes + int64_t{length} * (length > kReservedBytes ? 3 : 1);
  const bool map_entry = field.containing_type()->options().map_entry();
  Utf8Check check;
  int left = length;
  while (left > 0) {
    const void* data = nullptr;
    int available = 0;
    if (!input_.GetDirectBufferPointer(&data, &available)) return Malformed("text is cut off");
    const int piece = std::min(left, available);
    if (!check.Add({static_cast<const char*>(data), static_cast<size_t>(piece)})) break;
    input_.Skip(piece);
    left -= piece;
  }
  const auto wrong = check.FirstError();
  if (!wrong) return absl::OkStatus();
  const std::string offset = std::to_string(*wrong);
  if (map_entry) path_.pop_back();  // "key" is no part of a map's path
  return WithErrorMetadata(
      InvalidField(Path(), fmt::format("is not valid UTF-8 at byte {} of its {}", offset, length)),
      "byte_offset", offset);
}

absl::Status Scan::Unknown(uint32_t number, WireType wire, int depth) {
  held_bytes_ += kUnknownBytes;
  if (++unknown_ > kMaxOccurrences) {
    return InvalidField(Path(), fmt::format("holds more than {} fields of unknown numbers, the "
                                            "last {}",
                                            kMaxOccurrences, number));
  }
  if (wire == kLength) {
    ASSIGN_OR_RETURN(const int length, ReadLength());
    held_bytes_ += int64_t{length} * (length > kReservedBytes ? 3 : 1);
    return input_.Skip(length) ? absl::OkStatus() : Malformed("bytes are cut off");
  }
  if (wire != kStartGroup) return Scalar(wire);
  if (depth >= kMaxGroupDepth) return Malformed("groups are nested too deeply");
  while (input_.BytesUntilLimit() > 0) {
    uint64_t tag = 0;
    if (!input_.ReadVarint64(&tag) || tag > std::numeric_limits<uint32_t>::max() || tag < 8) {
      break;
    }
    if ((tag & 7) == kEndGroup) {
      return tag >> 3 == number ? absl::OkStatus() : Malformed("a group ends that did not begin");
    }
    RETURN_IF_ERROR(
        Unknown(static_cast<uint32_t>(tag >> 3), static_cast<WireType>(tag & 7), depth + 1));
  }
  return Malformed("a group does not end");
}

absl::Status Scan::Scalar(WireType wire) {
  uint64_t value = 0;
  switch (wire) {
    case kVarint:
      return input_.ReadVarint64(&value) ? absl::OkStatus() : Malformed("a number is cut off");
    case kFixed64:
      return input_.Skip(8) ? absl::OkStatus() : Malformed("a number is cut off");
    case kFixed32:
      return input_.Skip(4) ? absl::OkStatus() : Malformed("a number is cut off");
    default:
      return Malformed(fmt::format("{} is no wire type of a field", static_cast<uint32_t>(wire)));
  }
}

}  // namespace

int64_t MaxOccurrences(std::string_view field) {
  constexpr std::pair<std::string_view, int64_t> kLimits[] = {
      {"tessera.v1.TokenPrompt.ids", int64_t{1} << 22},
      {"tessera.v1.SamplingParams.stop", 16},
      {"tessera.v1.SamplingParams.stop_token_ids", 64},
      {"tessera.v1.SamplingParams.logit_bias", 1024},
  };
  const auto* const found =
      std::ranges::find(kLimits, field, [](const auto& limit) { return limit.first; });
  return found == std::end(kLimits) ? kMaxOccurrences : found->second;
}

absl::StatusOr<int64_t> ScanMessage(const Descriptor& type,
                                    google::protobuf::io::ZeroCopyInputStream& bytes, int size) {
  CodedInputStream input(&bytes);
  input.PushLimit(size);
  Scan scan(input, size);
  RETURN_IF_ERROR(scan.Message(type));
  return scan.held_bytes();
}

}  // namespace tessera
