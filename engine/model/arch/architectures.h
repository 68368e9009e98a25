// The table of architectures. A new one is a file in arch/ and a row here.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

// Where the vision tower's own config.json and preprocessor_config.json lie; empty: the geometry
// published under its name.
using VisionTowerDir = std::filesystem::path;

// What the user named.
struct ModelDirectories {
  std::filesystem::path model;
  VisionTowerDir vision_tower = {};
  // of an adapter release: the model it was trained on; else empty
  std::filesystem::path base = {};
};

// A release without a config.json is recognised by what one of its other files holds.
struct ReleaseMark {
  std::string_view file;
  std::string_view key;     // of its JSON object
  std::string_view family;  // whose keys the file has beside it: see UnusedConfigKeys()
};

struct Architecture {
  std::string_view model_type;  // of config.json
  // From config.json, or from the file of the mark.
  absl::StatusOr<ModelSpec> (*read)(JsonFields& config, const ModelDirectories& directories);
  std::span<const ReleaseMark> marks = {};
};

std::span<const Architecture> Architectures();

// Reads config.json of a model directory, or the marked file where there is none. Errors name the
// file, the field and its value; UNIMPLEMENTED lists the known model types.
absl::StatusOr<ModelSpec> ReadModelSpec(const ModelDirectories& directories);

}  // namespace tessera
