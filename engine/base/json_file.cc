#include "engine/base/json_file.h"

#include <fmt/format.h>

#include "engine/base/failed_download.h"
#include "engine/base/mapped_file.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxJsonBytes = size_t{64} << 20;
constexpr int kMaxJsonDepth = 64;
constexpr size_t kMaxShownBytes = 80;  // of a value in an error

const nlohmann::json& EmptyObject() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

// Deeper nesting than kMaxJsonDepth, brackets in strings left out: checked before parsing, which
// recurses when it frees values.
bool TooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

bool StartsLikeJson(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
}

bool IsIntegerIn(const nlohmann::json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return false;
  return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

}  // namespace

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path,
                                            std::string_view purpose) {
  const auto file = MappedFile::Open(path);
  if (absl::IsNotFound(file.status()) && !purpose.empty()) {
    return absl::NotFoundError(fmt::format("{} is not there; {}", path.string(), purpose));
  }
  if (!file.ok()) return file.status();
  const std::string_view text = (*file)->bytes();
  if (text.size() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(fmt::format("{}: {} bytes, at most {} are read",
                                                  path.string(), text.size(), kMaxJsonBytes));
  }
  if (TooDeep(text)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: nested deeper than {} levels", path.string(), kMaxJsonDepth));
  }
  try {
    nlohmann::json json = nlohmann::json::parse(text);
    RETURN_IF_ERROR((*file)->CheckUnchanged());
    return json;
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        fmt::format("{}: not valid JSON at byte {}{}", path.string(), error.byte,
                    StartsLikeJson(text) ? "" : ContentInstead(text)));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        fmt::format("{}: not valid JSON: {}", path.string(), error.what()));
  }
}

JsonFields::JsonFields(const nlohmann::json& object, std::string place)
    : object_(&object), place_(std::move(place)) {
  if (!object.is_object()) {
    status_ = absl::InvalidArgumentError(place_ + ": no JSON object");
    object_ = &EmptyObject();
  }
}

const nlohmann::json* JsonFields::Lookup(const std::string& key) const {
  read_->insert(path_ + key);
  if (const auto found = object_->find(key); found != object_->end()) return &*found;
  const auto otherwise = defaults_.find(key);
  return otherwise == defaults_.end() ? nullptr : &*otherwise;
}

bool JsonFields::Has(const std::string& key) const {
  const nlohmann::json* value = Lookup(key);
  return value != nullptr && !value->is_null();
}

void JsonFields::Refuse(const std::string& key, const std::string& why) {
  if (!status_.ok()) return;
  const auto found = object_->find(key);
  std::string value = found == object_->end() ? "" : " " + found->dump();
  if (value.size() > kMaxShownBytes) {
    size_t end = kMaxShownBytes;
    while ((value[end] & 0xC0) == 0x80) --end;  // not inside a UTF-8 character
    value.resize(end);
  }
  status_ =
      absl::InvalidArgumentError(fmt::format("{}: \"{}{}\"{}: {}", place_, path_, key, value, why));
}

void JsonFields::Merge(const JsonFields& nested) {
  if (status_.ok()) status_ = nested.status_;
}

const nlohmann::json* JsonFields::Find(const std::string& key, bool required) {
  if (const nlohmann::json* value = Lookup(key); value != nullptr && !value->is_null())
    return value;
  if (required) Refuse(key, "is missing");
  return nullptr;
}

int64_t JsonFields::Int(const std::string& key, int64_t low, int64_t high) {
  return Find(key, true) == nullptr ? low : IntOr(key, low, low, high);
}

int64_t JsonFields::IntOr(const std::string& key, int64_t fallback, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!IsIntegerIn(*value, low, high)) {
    Refuse(key, fmt::format("must be an integer from {} to {}", low, high));
    return fallback;
  }
  return value->get<int64_t>();
}

double JsonFields::NumberOr(const std::string& key, double fallback, double low, double high) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
    Refuse(key, fmt::format("must be a number from {} to {}", low, high));
    return fallback;
  }
  return value->get<double>();
}

bool JsonFields::BoolOr(const std::string& key, bool fallback) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Refuse(key, "must be true or false");
    return fallback;
  }
  return value->get<bool>();
}

std::string JsonFields::StringOr(const std::string& key, const std::string& fallback) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!value->is_string()) {
    Refuse(key, "must be a string");
    return fallback;
  }
  return value->get<std::string>();
}

std::string JsonFields::String(const std::string& key) {
  return Find(key, true) == nullptr ? "" : StringOr(key, "");
}

std::vector<int64_t> JsonFields::Ints(const std::string& key, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(key, true);
  std::vector<int64_t> values;
  if (value == nullptr) return values;
  if (!value->is_array()) {
    Refuse(key, "must be a list of integers");
    return values;
  }
  for (const nlohmann::json& item : *value) {
    if (!IsIntegerIn(item, low, high)) {
      Refuse(key, fmt::format("must be a list of integers from {} to {}", low, high));
      return {};
    }
    values.push_back(item.get<int64_t>());
  }
  return values;
}

JsonFields JsonFields::Object(const std::string& key) {
  const nlohmann::json* value = Find(key, true);
  if (value != nullptr && !value->is_object()) Refuse(key, "must be a JSON object");
  JsonFields nested(value != nullptr && value->is_object() ? *value : EmptyObject(), place_);
  nested.status_ = status_;
  nested.path_ = path_ + key + ".";
  nested.read_ = read_;
  read_->insert(nested.path_);
  return nested;
}

std::vector<JsonFields::Field> JsonFields::Unread() const {
  std::vector<Field> unread;
  AppendUnread(*object_, path_, unread);
  return unread;
}

void JsonFields::AppendUnread(const nlohmann::json& object, const std::string& path,
                              std::vector<Field>& unread) const {
  for (const auto& [key, value] : object.items()) {
    if (!read_->contains(path + key)) {
      unread.push_back({path + key, &value});
    } else if (value.is_object() && read_->contains(path + key + ".")) {
      AppendUnread(value, path + key + ".", unread);
    }
  }
}

}  // namespace tessera
