// The table of architectures. A new one is a file in arch/ and a row here.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

// Where the vision tower's own config.json and preprocessor_config.json lie; empty: the geometry published under its name.
using VisionTowerDir = std::filesystem::path;

// What the user named.
struct ModelDirectories {
  std::filesystem::path model;
  VisionTowerDir vision_tower = {};
  std::filesystem::path base = {};  // of an adapter release: the model it was trained on; else empty
};

struct Architecture {
  std::string_view model_type;  // of config.json
  absl::StatusOr<ModelSpec> (*read)(JsonFields& config, const ModelDirectories& directories);
};

std::span<const Architecture> Architectures();

// Reads config.json of a model directory. Errors name the file, the field and its value; UNIMPLEMENTED lists the known model types.
absl::StatusOr<ModelSpec> ReadModelSpec(const ModelDirectories& directories);

}  // namespace tessera
