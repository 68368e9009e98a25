// The decoder that Qwen3-MoE and Qwen3-VL-MoE share.
#pragma once

#include "engine/checkpoint/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

// Sizes, block and experts from a text config; left out are positions with more axes, whether
// chosen weights are renormalised, experts in fused tensors, and the head. Complaints are left in `config`.
void ReadQwen3Block(JsonFields& config, double default_theta, int default_positions,
                    ModelSpec& spec);

}  // namespace tessera
