// The merges of a tokenizer.json: "a b" up to tokenizers 0.19, ["a", "b"] from 0.20 on.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/status.h"

namespace tessera {

// Gives the two sides of each, which are not empty, to `take`. Errors name the entry.
absl::Status ForEachMerge(
    const nlohmann::json& merges,
    const std::function<absl::Status(std::string_view left, std::string_view right)>& take);

}  // namespace tessera
