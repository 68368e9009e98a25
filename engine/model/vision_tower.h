// Geometry and preprocessing of a vision tower: from its own directory, or from the table of published ones.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "engine/input/image_processor.h"
#include "engine/model/model_spec.h"

namespace tessera {

struct VisionTower {
  VisionSpec spec;
  ImageProcessor processor;
};

// `dir` holds config.json (a CLIPVisionModel's, or a whole CLIP's with vision_config) and preprocessor_config.json. An empty `dir`
// means the published geometry of `name`; UNIMPLEMENTED for a name that is not in the table.
absl::StatusOr<VisionTower> ReadVisionTower(const std::string& name,
                                            const std::filesystem::path& dir);

}  // namespace tessera
