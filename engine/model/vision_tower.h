// Geometry and preprocessing of a vision tower: from its own directory, or from the table of
// published ones.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/json_file.h"
#include "engine/image/image_processor.h"
#include "engine/model/model_spec.h"

namespace tessera {

struct VisionTower {
  VisionSpec spec;
  ImageProcessor processor;
  std::vector<std::string> warnings;  // of its files
};

// `dir` holds config.json (a CLIP or SigLIP vision model's, or a whole CLIP's or SigLIP's with
// vision_config) and the image processor's settings (ReadProcessorConfig). An empty `dir` means the
// published geometry of `name`; UNIMPLEMENTED for a name that is not in the table.
absl::StatusOr<VisionTower> ReadVisionTower(const std::string& name,
                                            const std::filesystem::path& dir);

// The same from a vision model's fields and `dir`'s image processor. Fields that are
// missing have the defaults of transformers' CLIPVisionConfig and SiglipVisionConfig. `otherwise`:
// the model_type where the fields name none.
absl::StatusOr<VisionTower> ReadVisionTower(JsonFields& vision_config, std::string_view otherwise,
                                            const std::filesystem::path& dir);

}  // namespace tessera
