// The names that config.json files have for activations.
#pragma once

#include <string>

#include "engine/backend/backend.h"
#include "engine/base/json_file.h"

namespace tessera {

// The activation that `key` names; `otherwise` where the key is missing. An unknown name is
// refused.
Activation ReadActivation(JsonFields& config, const std::string& key, Activation otherwise);

}  // namespace tessera
