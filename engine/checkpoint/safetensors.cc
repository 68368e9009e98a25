#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/status.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference library
constexpr size_t kMaxDims = 8;

struct ElementType {
  std::string_view name;
  unsigned bits;
  std::optional<DType> dtype;
};

constexpr ElementType kElementTypes[] = {
    {"F32", 32, DType::kFloat32},
    {"BF16", 16, DType::kBFloat16},
    {"F16", 16, DType::kFloat16},
    {"I32", 32, DType::kInt32},
    {"I64", 64, DType::kInt64},
    {"F64", 64, {}},
    {"C64", 64, {}},
    {"U64", 64, {}},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

const ElementType* FindElementType(std::string_view name) {
  for (const ElementType& type : kElementTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

struct Entry {
  std::string name;
  StoredTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Bytes of the shape, or nothing on overflow or where they are no whole number.
std::optional<uint64_t> ShapeBytes(const std::vector<int64_t>& dims, unsigned bits) {
  uint64_t size = bits;
  for (int64_t dim : dims) {
    if (__builtin_mul_overflow(size, static_cast<uint64_t>(dim), &size)) return std::nullopt;
  }
  return size % 8 == 0 ? std::optional(size / 8) : std::nullopt;
}

bool IsUnsigned(const json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const json& value) {
  const auto error = [&](const std::string& what) {
    return absl::InvalidArgumentError(fmt::format("tensor \"{}\": {}", name, what));
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    return error("its entry needs dtype, shape and data_offsets");
  }
  if (!value["dtype"].is_string()) return error("dtype is no string");
  const std::string dtype_name = value["dtype"].get<std::string>();
  const ElementType* type = FindElementType(dtype_name);
  if (type == nullptr) return error(fmt::format("dtype {} is not known", dtype_name));

  Entry entry;
  entry.name = name;
  entry.tensor.type = dtype_name;
  entry.tensor.dtype = type->dtype;
  const json& shape = value["shape"];
  if (!shape.is_array() || shape.size() > kMaxDims) return error("shape is no list of at most 8");
  for (const json& dim : shape) {
    if (!IsUnsigned(dim)) {  // dump() recurses: of numbers only
      return error(fmt::format("shape holds {} where a size belongs",
                               dim.is_number() ? dim.dump() : dim.type_name()));
    }
    entry.tensor.dims.push_back(dim.get<int64_t>());
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !IsUnsigned(offsets[0]) ||
      !IsUnsigned(offsets[1])) {
    return error("data_offsets are no two sizes");
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.begin > entry.end) {
    return error(
        fmt::format("data_offsets [{}, {}] end before they begin", entry.begin, entry.end));
  }
  const std::optional<uint64_t> bytes = ShapeBytes(entry.tensor.dims, type->bits);
  if (!bytes || *bytes != entry.end - entry.begin) {
    return error(fmt::format("shape {} of {} does not fill data_offsets [{}, {}]",
                             ShapeString(entry.tensor.dims), dtype_name, entry.begin, entry.end));
  }
  entry.tensor.bytes = *bytes;
  return entry;
}

absl::StatusOr<std::vector<Entry>> ParseHeader(std::string_view header, uint64_t data_bytes) {
  const json parsed = json::parse(header, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::InvalidArgumentError("the header is no JSON object");
  std::vector<Entry> entries;
  for (const auto& [name, value] : parsed.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, value));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      return absl::InvalidArgumentError(fmt::format(
          "tensor \"{}\": starts at {} where the one before ends at {} ({})", entry.name,
          entry.begin, expected, entry.begin < expected ? "they overlap" : "a hole"));
    }
    expected = entry.end;
  }
  if (expected > data_bytes) {
    return absl::InvalidArgumentError(fmt::format(
        "the tensors take {} bytes, of which {} are there; the file is cut: fetch it again",
        expected, data_bytes));
  }
  if (expected != data_bytes) {
    return absl::InvalidArgumentError(fmt::format(
        "the tensors fill {} of {} bytes of data; the file is cut or was not written to its end",
        expected, data_bytes));
  }
  return entries;
}

}  // namespace

absl::StatusOr<StoredTensors> ReadSafetensors(std::string_view bytes) {
  if (bytes.size() < 8) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes are no safetensors file", bytes.size()));
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes = header_bytes << 8 | static_cast<uint8_t>(bytes[static_cast<size_t>(i)]);
  }
  const bool header_begins = bytes.size() == 8 || bytes[8] == '{';
  if (header_bytes <= kMaxHeaderBytes && header_bytes > bytes.size() - 8 && header_begins) {
    return absl::InvalidArgumentError(
        fmt::format("the header has {} bytes, the whole file {}; the file is cut: fetch it again",
                    header_bytes, bytes.size()));
  }
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - 8) {
    return absl::InvalidArgumentError(fmt::format(
        "a header of {} bytes does not fit into the file's {} bytes", header_bytes, bytes.size()));
  }
  const std::string_view data = bytes.substr(8 + header_bytes);
  ASSIGN_OR_RETURN(std::vector<Entry> entries,
                   ParseHeader(bytes.substr(8, header_bytes), data.size()));
  StoredTensors tensors;
  for (Entry& entry : entries) {
    entry.tensor.data = data.data() + entry.begin;
    tensors.emplace(std::move(entry.name), std::move(entry.tensor));
  }
  return tensors;
}

}  // namespace tessera
