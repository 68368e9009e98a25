#include "cuda/tile_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/base/status.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int64_t kMaxExperts = 1 << 16;
constexpr int64_t kMaxSize = int64_t{1} << 31;
std::string_view NameOf(WeightFormat format) {
  return format == WeightFormat::kActivations ? "activations" : WeightFormatName(format);
}

// Reads fields of one object; what is wrong is remembered, first come.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  int64_t Int(const char* key, int64_t least, int64_t most) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_number_integer()) return Refuse(key, least);
    const bool huge = value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX;
    const int64_t number = huge ? INT64_MAX : value->get<int64_t>();
    return number >= least && number <= most ? number : Refuse(key, least);
  }
  bool Bool(const char* key) {
    const json* value = Find(key);
    return value != nullptr && value->is_boolean() ? value->get<bool>() : Refuse(key, false);
  }
  std::string String(const char* key) {
    const json* value = Find(key);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    return Refuse(key, std::string());
  }
  const json& Array(const char* key) {
    static const json empty = json::array();
    const json* value = Find(key);
    if (value != nullptr && value->is_array()) return *value;
    Refuse(key, 0);
    return empty;
  }
  template <typename Value>
  Value Refuse(const char* key, Value otherwise) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(fmt::format("\"{}\" is missing or wrong", key));
    }
    return otherwise;
  }
  const absl::Status& status() const { return status_; }

 private:
  const json* Find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  const json& object_;
  absl::Status status_;
};

WeightFormat ReadFormat(Fields& fields) {
  const std::string name = fields.String("weights");
  if (name == NameOf(WeightFormat::kActivations)) return WeightFormat::kActivations;
  for (const WeightFormat format : kQuantisedFormats) {
    if (name == NameOf(format)) return format;
  }
  return fields.Refuse("weights", WeightFormat::kActivations);
}

TileTable::Tiles ReadTileList(Fields& fields, WeightFormat format) {
  TileTable::Tiles tiles;
  const json& list = fields.Array("tiles");
  if (list.empty() || list.size() > kPlaceBuckets) return fields.Refuse("tiles", tiles);
  for (const json& pair : list) {
    const bool numbers = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() &&
                         pair[1].is_number_integer();
    if (!numbers) return fields.Refuse("tiles", tiles);
    const auto number = [&](int i) {
      return static_cast<int>(std::clamp<int64_t>(pair[i].get<int64_t>(), 0, 1 << 16));
    };
    const cuda::HopperTile tile = {number(0), number(1)};
    if (!cuda::IsHopperTile(tile, format)) return fields.Refuse("tiles", tiles);
    tiles.push_back(tile);
  }
  return tiles;
}

absl::Status ReadProduct(const json& object, TileTable& table) {
  Fields fields(object);
  ProductShape shape;
  shape.experts = fields.Int("experts", 1, kMaxExperts);
  shape.in = fields.Int("in", 1, kMaxSize);
  shape.out = fields.Int("out", 1, kMaxSize);
  shape.format = ReadFormat(fields);
  shape.gated = fields.Bool("gated");
  shape.gathered = fields.Bool("gathered");
  TileTable::Tiles tiles = ReadTileList(fields, shape.format);
  RETURN_IF_ERROR(fields.status());
  table.Set(shape, std::move(tiles));
  return absl::OkStatus();
}

absl::Status FileError(const std::filesystem::path& path, const char* what) {
  const int error = errno;  // formatting may change it
  return absl::UnavailableError(
      fmt::format("{}: {}: {}", path.string(), what, std::strerror(error)));
}

absl::Status WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::UnavailableError(std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0 ? absl::OkStatus() : absl::UnavailableError(std::strerror(errno));
}

}  // namespace

absl::StatusOr<TileFile> ParseTiles(std::string_view text) {
  if (text.size() > kMaxBytes) return absl::InvalidArgumentError("larger than 1 MiB");
  const json root = json::parse(text, nullptr, false);
  if (root.is_discarded()) return absl::InvalidArgumentError("not JSON");
  Fields fields(root);
  TileFile file;
  fields.Int("format", kFormat, kFormat);
  file.device.kernels = static_cast<int>(fields.Int("kernels", 1, INT32_MAX));
  file.device.gpu = fields.String("gpu");
  file.device.multiprocessors = static_cast<int>(fields.Int("multiprocessors", 1, INT32_MAX));
  const json& products = fields.Array("products");
  RETURN_IF_ERROR(fields.status());
  for (size_t i = 0; i < products.size(); ++i) {
    const absl::Status status = ReadProduct(products[i], file.table);
    if (!status.ok()) return Annotate(status, fmt::format("product {}", i));
  }
  return file;
}

std::string FormatTiles(const TileFile& file) {
  // A product a line, so that versions of a table can be compared.
  std::string text = fmt::format(
      "{{\"format\": {}, \"kernels\": {}, \"gpu\": {}, \"multiprocessors\": {}, \"products\": [",
      kFormat, file.device.kernels,
      json(file.device.gpu).dump(-1, ' ', false, json::error_handler_t::replace),
      file.device.multiprocessors);
  const char* separator = "\n";
  for (const auto& [shape, tiles] : file.table.shapes()) {
    json pairs = json::array();
    for (const cuda::HopperTile& tile : tiles) pairs.push_back({tile.rows, tile.places});
    text += fmt::format(
        "{} {{\"experts\": {}, \"in\": {}, \"out\": {}, \"weights\": \"{}\", \"gated\": {}, "
        "\"gathered\": {}, \"tiles\": {}}}",
        separator, shape.experts, shape.in, shape.out, NameOf(shape.format), shape.gated,
        shape.gathered, pairs.dump());
    separator = ",\n";
  }
  return text + "\n]}\n";
}

std::string TileFileName(const std::string& gpu) {
  std::string name = "tiles-";
  for (const unsigned char c : gpu) {
    name += std::isalnum(c) != 0 ? static_cast<char>(std::tolower(c)) : '_';
  }
  return name + ".json";
}

absl::StatusOr<TileFile> ReadTiles(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::NotFoundError(path.string());
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(path.string() + " is no file");
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  auto file = ParseTiles(text);
  if (!file.ok()) return Annotate(file.status(), path.string());
  return file;
}

absl::Status WriteTiles(const std::filesystem::path& path, const TileFile& file) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  std::string temporary = path.string() + ".XXXXXX";
  const int descriptor = mkstemp(temporary.data());
  if (descriptor < 0) return FileError(path, "cannot be written");
  absl::Status status = WriteAll(descriptor, FormatTiles(file));
  if (close(descriptor) != 0 && status.ok()) status = FileError(path, "cannot be closed");
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) {
    status = FileError(path, "cannot be replaced");
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace tessera
