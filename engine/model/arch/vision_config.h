// The vision half of a config.json in the layout of LLaVA and its kin: which tower, which of its
// rows, which projector, how many scales. Source: haotian-liu/LLaVA at c121f04 and
// PKU-YuanGroup/MoE-LLaVA at 6cb5f66, their multimodal_encoder and multimodal_projector.
#pragma once

#include <string>

#include "engine/base/json_file.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/model_spec.h"

namespace tessera {

// Where a family keeps what the others keep elsewhere.
struct VisionKeys {
  std::string tower;              // key of the tower's name
  std::string projector;          // key of the projector's type
  std::string tower_tensors;      // prefix of the vision model's tensors
  std::string projector_tensors;  // prefix of the projector's, without a dot
  std::string default_scales;     // where s2_scales is missing
  bool pooling = false;           // knows the pool_mlpNx_gelu projectors
};

// Fills spec.vision, .projector, .image_processor and .image_mode from `config`; leaves a model
// without a tower's name without vision. REQUIRES: spec.decoder.hidden.
absl::Status ReadVision(JsonFields& config, const VisionTowerDir& tower, const VisionKeys& keys,
                        ModelSpec& spec);

}  // namespace tessera
