#include "engine/image/processor_config.h"

#include <fmt/format.h>

#include <optional>

#include "engine/base/json_file.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kNested = "image_processor";

absl::StatusOr<json> ReadObject(const fs::path& path) {
  ASSIGN_OR_RETURN(json object, ReadJsonFile(path));
  if (object.is_object()) return object;
  return absl::InvalidArgumentError(fmt::format("{}: must be an object", path.string()));
}

json WithoutNulls(const json& object) {
  json kept = json::object();
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) kept[key] = value;
  }
  return kept;
}

// The nested object of `file`; nothing where it has none.
absl::StatusOr<std::optional<ProcessorConfig>> FindNested(const json& file, const fs::path& path) {
  const auto nested = file.find(kNested);
  if (nested == file.end() || nested->is_null()) return std::nullopt;
  std::string place = fmt::format("{} {}", path.string(), kNested);
  if (nested->is_object()) return ProcessorConfig{WithoutNulls(*nested), std::move(place), {}};
  return absl::InvalidArgumentError(fmt::format("{}: must be an object", place));
}

absl::StatusOr<std::optional<ProcessorConfig>> FindProcessor(const fs::path& path,
                                                             bool only_nested) {
  ASSIGN_OR_RETURN(const bool there, IsThere(path));
  if (!there) return std::nullopt;
  ASSIGN_OR_RETURN(const json file, ReadObject(path));
  ASSIGN_OR_RETURN(std::optional<ProcessorConfig> nested, FindNested(file, path));
  if (nested || only_nested) return nested;
  return ProcessorConfig{WithoutNulls(file), path.string(), {}};
}

// Keys that both have with other values, but for the class's name, of which there are several.
std::string Differences(const json& a, const json& b) {
  std::string keys;
  for (const auto& [key, value] : a.items()) {
    const auto other = b.find(key);
    if (other == b.end() || *other == value || key == "image_processor_type") continue;
    keys += (keys.empty() ? "" : ", ") + key;
  }
  return keys;
}

}  // namespace

absl::StatusOr<ProcessorConfig> ReadProcessorConfig(const fs::path& directory,
                                                    std::string_view reader) {
  ASSIGN_OR_RETURN(std::optional<ProcessorConfig> nested,
                   FindProcessor(directory / "processor_config.json", /*only_nested=*/true));
  ASSIGN_OR_RETURN(std::optional<ProcessorConfig> own,
                   FindProcessor(directory / "preprocessor_config.json", /*only_nested=*/false));
  if (!nested && !own) {
    return absl::NotFoundError(fmt::format(
        "{}: neither preprocessor_config.json nor processor_config.json with \"{}\" is there; {} "
        "takes from it how images are resized and normalised (size, image_mean, image_std)",
        directory.string(), kNested, reader));
  }
  if (!nested) return *std::move(own);
  if (!own) return *std::move(nested);
  if (const std::string keys = Differences(nested->settings, own->settings); !keys.empty()) {
    nested->warnings.push_back(
        fmt::format("{} is read, {} is not; they differ in {}", nested->place, own->place, keys));
  }
  return *std::move(nested);
}

}  // namespace tessera
