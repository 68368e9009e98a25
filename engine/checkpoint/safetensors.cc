#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/status.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference library
constexpr size_t kMaxDims = 8;

std::optional<DType> ParseDType(const std::string& name) {
  if (name == "F32") return DType::kFloat32;
  if (name == "BF16") return DType::kBFloat16;
  if (name == "F16") return DType::kFloat16;
  if (name == "I32") return DType::kInt32;
  if (name == "I64") return DType::kInt64;
  return std::nullopt;
}

struct Entry {
  std::string name;
  HostTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Bytes of the shape, or nothing on overflow.
std::optional<uint64_t> ShapeBytes(const std::vector<int64_t>& dims, DType dtype) {
  uint64_t bytes = DTypeBytes(dtype);
  for (int64_t dim : dims) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) return std::nullopt;
  }
  return bytes;
}

bool IsUnsigned(const json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const json& value, uint64_t data_bytes) {
  const auto error = [&](const std::string& what) {
    return absl::InvalidArgumentError(fmt::format("tensor \"{}\": {}", name, what));
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    return error("its entry needs dtype, shape and data_offsets");
  }
  if (!value["dtype"].is_string()) return error("dtype is no string");
  const std::string dtype_name = value["dtype"].get<std::string>();
  const std::optional<DType> dtype = ParseDType(dtype_name);
  if (!dtype) return error(fmt::format("dtype {} is not supported", dtype_name));

  Entry entry{name, {*dtype, {}, nullptr}, 0, 0};
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
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return error(fmt::format("data_offsets [{}, {}] lie outside the file's {} bytes of data",
                             entry.begin, entry.end, data_bytes));
  }
  const std::optional<uint64_t> bytes = ShapeBytes(entry.tensor.dims, *dtype);
  if (!bytes || *bytes != entry.end - entry.begin) {
    return error(fmt::format("shape {} of {} does not fill data_offsets [{}, {}]",
                             entry.tensor.ShapeString(), dtype_name, entry.begin, entry.end));
  }
  return entry;
}

absl::StatusOr<std::vector<Entry>> ParseHeader(std::string_view header, uint64_t data_bytes) {
  const json parsed = json::parse(header, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::InvalidArgumentError("the header is no JSON object");
  std::vector<Entry> entries;
  for (const auto& [name, value] : parsed.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, value, data_bytes));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      return absl::InvalidArgumentError(
          fmt::format("tensor \"{}\": starts at {} where the one before ends at {} ({})",
                      entry.name, entry.begin, expected,
                      entry.begin < expected ? "they overlap" : "a hole"));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    return absl::InvalidArgumentError(fmt::format(
        "the tensors fill {} of {} bytes of data; the file is cut or was not written to its end",
        expected, data_bytes));
  }
  return entries;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Safetensors>> Safetensors::Open(const std::filesystem::path& path) {
  auto result = std::make_unique<Safetensors>();
  ASSIGN_OR_RETURN(result->file_, MappedFile::Open(path));
  const std::string_view bytes = result->file_->bytes();
  const std::string place = path.string();
  if (bytes.size() < 8) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} bytes are no safetensors file", place, bytes.size()));
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes = header_bytes << 8 | static_cast<uint8_t>(bytes[static_cast<size_t>(i)]);
  }
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - 8) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a header of {} bytes does not fit into the file's {} bytes", place,
                    header_bytes, bytes.size()));
  }
  const std::string_view data = bytes.substr(8 + header_bytes);
  auto entries = ParseHeader(bytes.substr(8, header_bytes), data.size());
  if (!entries.ok()) return Annotate(entries.status(), place);
  for (Entry& entry : *entries) {
    entry.tensor.data = data.data() + entry.begin;
    result->tensors_.emplace(std::move(entry.name), std::move(entry.tensor));
  }
  return result;
}

}  // namespace tessera
