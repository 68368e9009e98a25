// What every MoE-LLaVA backbone shares: the `moe` object, the vision tower and projector keys,
// DeepSpeed's tensor names. Source: PKU-YuanGroup/MoE-LLaVA at 6cb5f66,
// moellava/model/language_model and multimodal_encoder.
#pragma once

#include "engine/base/json_file.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/model_spec.h"

namespace tessera {

// Fills spec.decoder.experts, .router and the routed tensors' names from config's `moe`; all layers
// stay dense where it is not enabled.
void ReadMoe(JsonFields& config, ModelSpec& spec);

// Fills spec.vision, .projector, .image_processor and .image_mode. `prefix` is that of the language
// model's tensors, "model.".
absl::Status ReadVision(JsonFields& config, const VisionTowerDir& tower, const std::string& prefix,
                        ModelSpec& spec);

// The spec of a backbone with all that `config` says beside it. The last call of every reader.
absl::StatusOr<ModelSpec> WithExpertsAndVision(JsonFields& config, const VisionTowerDir& tower,
                                               const std::string& prefix, ModelSpec spec);

}  // namespace tessera
