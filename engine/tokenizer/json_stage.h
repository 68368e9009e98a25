// Looks into the JSON of tokenizer.json, where every stage is an object with a "type", and several
// in a row are one of type "Sequence".
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {

// The member, or null where there is none or `object` is no object.
inline const nlohmann::json& Member(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

// For errors too: where there is no type, what stands there instead.
inline std::string TypeOf(const nlohmann::json& stage) {
  const nlohmann::json& type = Member(stage, "type");
  return type.is_string() ? type.get<std::string>() : Excerpt(stage);
}

inline bool IsTrue(const nlohmann::json& value) { return value.is_boolean() && value.get<bool>(); }

// A stage is null, one stage, or a Sequence of stages under `list`.
inline std::vector<nlohmann::json> StagesOf(const nlohmann::json& stage, const char* list) {
  if (stage.is_null()) return {};
  if (TypeOf(stage) != "Sequence" || !Member(stage, list).is_array()) return {stage};
  return {Member(stage, list).begin(), Member(stage, list).end()};
}

}  // namespace tessera
