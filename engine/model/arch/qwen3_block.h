// The decoder that Qwen3-MoE and Qwen3-VL-MoE share.
#pragma once

#include "engine/base/json_file.h"
#include "engine/model/model_spec.h"
#include "engine/model/rotary_config.h"

namespace tessera {

// Sizes, block and experts from a text config; left out are whether chosen weights are
// renormalised, and the head. Complaints are left in `config`.
void ReadQwen3Block(JsonFields& config, const RotaryFamily& rotary, int default_positions,
                    ModelSpec& spec);

}  // namespace tessera
