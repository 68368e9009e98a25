#include "engine/model/rotary_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>

namespace tessera {
namespace {

constexpr double kMaxTheta = 1e12;
constexpr const char* kOld = "rope_scaling";
constexpr const char* kNew = "rope_parameters";
constexpr const char* kTheta = "rope_theta";
constexpr const char* kShare = "partial_rotary_factor";

// A number under `key`; what `outside` says where there is none, from under `outside_key` of an
// enclosing object. Refuses two that differ.
std::optional<double> ReadOnce(JsonFields& fields, const std::string& key, double low, double high,
                               const std::string& outside_key, std::optional<double> outside) {
  if (!fields.Has(key)) return outside;
  const double value = fields.NumberOr(key, low, low, high);
  if (outside && *outside != value) {
    fields.Refuse(key, fmt::format("contradicts \"{}\", which is {}", outside_key, *outside));
  }
  return value;
}

// What lies beside the objects of either spelling.
struct Outside {
  std::optional<double> theta;
  std::optional<double> share;
};

Outside ReadOutside(JsonFields& config, const RotaryFamily& family) {
  Outside outside;
  outside.theta = ReadOnce(config, family.theta_key, 1, kMaxTheta, "", std::nullopt);
  if (family.theta_key != kTheta) {
    outside.theta = ReadOnce(config, kTheta, 1, kMaxTheta, family.theta_key, outside.theta);
  }
  outside.share = ReadOnce(config, family.share_key, 0, 1, "", std::nullopt);
  if (family.share_key != kShare) {
    outside.share = ReadOnce(config, kShare, 0, 1, family.share_key, outside.share);
  }
  return outside;
}

// "mrope" was the type of positions with sections before it was called "default".
std::string ReadType(JsonFields& rope, const std::string& key, const RotaryFamily& family) {
  const std::string type = rope.StringOr(key, "default");
  return type == "mrope" && !family.sections.empty() ? "default" : type;
}

void CheckType(JsonFields& rope, const RotaryFamily& family) {
  const bool both = rope.Has("rope_type") && rope.Has("type");
  const std::string key = rope.Has("type") && !both ? "type" : "rope_type";
  const std::string type = ReadType(rope, key, family);
  if (both && ReadType(rope, "type", family) != type) {
    rope.Refuse("type", fmt::format("contradicts \"rope_type\", which is {}", type));
  }
  if (type != "default" && type != family.type) {
    rope.Refuse(key, fmt::format("scaled rotary positions are not served, only {}", family.type));
  }
  if (!rope.Has(key) && rope.Has("factor")) {
    rope.Refuse("factor", "scales positions, but no \"rope_type\" says how");
  }
}

std::vector<int> ReadSections(JsonFields& rope, const RotaryFamily& family) {
  if (family.sections.empty()) return {};
  if (!rope.BoolOr("mrope_interleaved", true)) {
    rope.Refuse("mrope_interleaved", "only interleaved sections are served");
  }
  if (!rope.Has("mrope_section")) return family.sections;
  const std::vector<int64_t> sections = rope.Ints("mrope_section", 0, 1 << 20);
  if (rope.status().ok() && sections.size() != 3) {
    rope.Refuse("mrope_section", "must be three numbers, of time, rows and columns");
  }
  return {sections.begin(), sections.end()};
}

// What is named, else what the class means.
RotaryConfig Settle(JsonFields& fields, const RotaryFamily& family, const Outside& named) {
  RotaryConfig read;
  if (!named.theta && !family.theta) {
    fields.Refuse(kTheta, "is missing, and versions of transformers differ in what that means");
  }
  read.theta = named.theta.value_or(family.theta.value_or(1));
  read.share = named.share.value_or(family.share);
  read.sections = family.sections;
  if (read.share != family.share && !family.partial) {
    fields.Refuse(fields.Has(kShare) ? kShare : family.share_key,
                  "only whole heads are rotated in this architecture");
  }
  return read;
}

RotaryConfig ReadFlat(JsonFields& rope, const RotaryFamily& family, const Outside& outside) {
  CheckType(rope, family);
  Outside named;
  named.theta = ReadOnce(rope, kTheta, 1, kMaxTheta, family.theta_key, outside.theta);
  named.share = ReadOnce(rope, kShare, 0, 1, family.share_key, outside.share);
  RotaryConfig read = Settle(rope, family, named);
  read.sections = ReadSections(rope, family);
  return read;
}

bool ForEachLayerType(const nlohmann::json& rope) {
  return std::any_of(rope.begin(), rope.end(), [](const auto& value) { return value.is_object(); });
}

// The settings of every type of layer, which must be the same.
RotaryConfig ReadNested(JsonFields& rope, const RotaryFamily& family, const Outside& outside) {
  std::optional<RotaryConfig> read;
  for (const auto& [type, value] : rope.object().items()) {
    if (value.is_null()) rope.Refuse(type, "layers without rotary positions are not served");
    if (!value.is_object()) continue;
    JsonFields own = rope.Object(type);
    const RotaryConfig settings = ReadFlat(own, family, outside);
    rope.Merge(own);
    if (read && !(*read == settings)) {
      rope.Refuse(type, "differs from other layers' settings: one for all is served");
    }
    read = settings;
  }
  return read.value_or(RotaryConfig());
}

RotaryConfig ReadSpelling(JsonFields& config, const std::string& key, const RotaryFamily& family,
                          const Outside& outside) {
  JsonFields rope = config.Object(key);
  const RotaryConfig read = ForEachLayerType(rope.object()) ? ReadNested(rope, family, outside)
                                                            : ReadFlat(rope, family, outside);
  config.Merge(rope);
  return read;
}

void CheckLayerTypes(JsonFields& config) {
  if (!config.Has("layer_types")) return;
  const nlohmann::json& types = config.object().at("layer_types");
  const auto full = [](const nlohmann::json& type) { return type == "full_attention"; };
  if (!types.is_array() || !std::all_of(types.begin(), types.end(), full)) {
    config.Refuse("layer_types", "only full_attention is served");
  }
}

}  // namespace

RotaryConfig ReadRotary(JsonFields& config, const RotaryFamily& family) {
  CheckLayerTypes(config);
  const Outside outside = ReadOutside(config, family);
  if (!config.Has(kOld) && !config.Has(kNew)) return Settle(config, family, outside);
  const std::string key = config.Has(kNew) ? kNew : kOld;
  const RotaryConfig read = ReadSpelling(config, key, family, outside);
  if (config.Has(kOld) && config.Has(kNew) &&
      !(ReadSpelling(config, kOld, family, outside) == read)) {
    config.Refuse(kNew, fmt::format("contradicts \"{}\"; a file needs only one of them", kOld));
  }
  return read;
}

void ReadRotary(JsonFields& config, const RotaryFamily& family, DecoderSpec& decoder) {
  const RotaryConfig read = ReadRotary(config, family);
  decoder.rope_theta = read.theta;
  decoder.rotary_dims = static_cast<int>(read.share * decoder.head_dim);
  decoder.rope_sections = read.sections;
  if (decoder.rotary_dims % 2 != 0) {
    config.Refuse(family.share_key, fmt::format("would rotate {} dims of each head, an odd number",
                                                decoder.rotary_dims));
  }
  if (!read.sections.empty() &&
      std::accumulate(read.sections.begin(), read.sections.end(), 0) != decoder.rotary_dims / 2) {
    config.Refuse(config.Has(kNew) ? kNew : kOld,
                  "mrope_section must be three numbers that add up to half of head_dim");
  }
}

}  // namespace tessera
