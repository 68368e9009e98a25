#include "engine/tokenizer/tokenizer_config.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

// The object in `path`, an empty one if there is no such file.
absl::StatusOr<json> ReadObject(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const bool there, IsThere(path));
  if (!there) return json::object();
  ASSIGN_OR_RETURN(json value, ReadJsonFile(path));
  if (value.is_object()) return value;
  return absl::InvalidArgumentError(fmt::format("{}: must be an object", path.string()));
}

// Nothing where it is not said.
absl::StatusOr<std::optional<bool>> ReadChoice(const json& object, const char* key,
                                               const std::string& what) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (found->is_boolean()) return found->get<bool>();
  return absl::InvalidArgumentError(fmt::format("{}: {} must be true or false", what, key));
}

absl::StatusOr<bool> ReadFlag(const json& object, const char* key, const std::string& what) {
  ASSIGN_OR_RETURN(const std::optional<bool> choice, ReadChoice(object, key, what));
  return choice.value_or(false);
}

// A token is named by its content or by an object that holds it.
absl::StatusOr<std::string> ReadContent(const json& value, const std::string& what) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return absl::InvalidArgumentError(fmt::format(
      "{}: {} must be a string or an object with one as content", what, Excerpt(value)));
}

absl::StatusOr<std::vector<AddedTokenEntry>> ReadDecoder(const json& decoder,
                                                         const std::string& file) {
  if (!decoder.is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: added_tokens_decoder must be an object", file));
  }
  std::vector<AddedTokenEntry> added;
  for (const auto& [key, value] : decoder.items()) {
    const std::string what = fmt::format("{}: added_tokens_decoder[\"{}\"]", file, key);
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxTokenId) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the key must be an id from 0 to {}", what, kMaxTokenId));
    }
    ASSIGN_OR_RETURN(AddedTokenEntry entry, ParseAddedToken(value, what));
    entry.id = id;
    added.push_back(std::move(entry));
  }
  return added;
}

absl::StatusOr<std::vector<AddedTokenEntry>> ReadAddedTokens(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const json object, ReadObject(path));
  std::vector<AddedTokenEntry> added;
  for (const auto& [content, value] : object.items()) {
    const std::string what = fmt::format("{}: \"{}\"", path.string(), content);
    if (content.empty()) return absl::InvalidArgumentError(fmt::format("{}: empty token", what));
    ASSIGN_OR_RETURN(const int32_t id, TokenIdOf(value, what));
    added.push_back({content, id, /*special=*/false, /*normalized=*/true});
  }
  return added;
}

struct Role {
  const char* key;
  std::optional<std::string>* content;  // null: one more control token
};

// Takes from `object` what `config` does not know yet.
absl::Status ReadRoles(const json& object, const json& stronger, const std::string& file,
                       TokenizerConfig* config) {
  const Role roles[] = {{"bos_token", &config->bos}, {"eos_token", &config->eos},
                        {"unk_token", &config->unk}, {"pad_token", &config->pad},
                        {"sep_token", nullptr},      {"cls_token", nullptr},
                        {"mask_token", nullptr}};
  for (const Role& role : roles) {
    const auto found = object.find(role.key);
    if (found == object.end() || stronger.contains(role.key)) continue;
    if (std::string_view(role.key) == "eos_token") config->says_eos = true;
    if (role.content != nullptr) role.content->reset();
    if (found->is_null()) continue;
    ASSIGN_OR_RETURN(std::string content, ReadContent(*found, file + ": " + role.key));
    if (content.empty()) continue;
    if (role.content != nullptr) {
      *role.content = std::move(content);
    } else {
      config->other_special.push_back(std::move(content));
    }
  }
  constexpr const char* kMore = "additional_special_tokens";
  const auto more = object.find(kMore);
  if (more == object.end() || more->is_null() || stronger.contains(kMore)) return absl::OkStatus();
  if (!more->is_array()) {
    return absl::InvalidArgumentError(fmt::format("{}: {} must be an array", file, kMore));
  }
  for (const json& value : *more) {
    ASSIGN_OR_RETURN(std::string content, ReadContent(value, file + ": " + kMore));
    if (!content.empty()) config->other_special.push_back(std::move(content));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AddedTokenEntry> ParseAddedToken(const json& value, const std::string& what) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} must be an object", what, Excerpt(value)));
  }
  AddedTokenEntry entry;
  ASSIGN_OR_RETURN(entry.content, ReadContent(value, what));
  if (entry.content.empty()) {
    return absl::InvalidArgumentError(fmt::format("{}: content is empty", what));
  }
  for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
    ASSIGN_OR_RETURN(const bool set, ReadFlag(value, flag, what));
    if (set) return absl::UnimplementedError(fmt::format("{}: {} is not supported", what, flag));
  }
  ASSIGN_OR_RETURN(entry.special, ReadFlag(value, "special", what));
  ASSIGN_OR_RETURN(entry.normalized, ReadFlag(value, "normalized", what));
  return entry;
}

absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(const std::filesystem::path& directory) {
  const std::filesystem::path config_path = directory / "tokenizer_config.json";
  const std::filesystem::path map_path = directory / "special_tokens_map.json";
  const std::string file = config_path.string();
  ASSIGN_OR_RETURN(const json object, ReadObject(config_path));
  ASSIGN_OR_RETURN(const json map, ReadObject(map_path));
  TokenizerConfig config;
  if (const auto name = object.find("tokenizer_class"); name != object.end() && !name->is_null()) {
    if (!name->is_string()) {
      return absl::InvalidArgumentError(fmt::format("{}: tokenizer_class must be a string", file));
    }
    config.tokenizer_class = name->get<std::string>();
  }
  if (config.is_llama()) {
    config.bos = "<s>";
    config.eos = "</s>";
    config.unk = "<unk>";
    config.add_bos = true;
  }
  ASSIGN_OR_RETURN(const std::optional<bool> add_bos, ReadChoice(object, "add_bos_token", file));
  if (add_bos.has_value()) config.add_bos = add_bos;
  ASSIGN_OR_RETURN(config.add_eos, ReadChoice(object, "add_eos_token", file));
  ASSIGN_OR_RETURN(config.add_prefix_space, ReadChoice(object, "add_prefix_space", file));
  ASSIGN_OR_RETURN(config.legacy, ReadChoice(object, "legacy", file));
  if (const auto decoder = object.find("added_tokens_decoder"); decoder != object.end()) {
    ASSIGN_OR_RETURN(config.added, ReadDecoder(*decoder, file));
  } else {
    ASSIGN_OR_RETURN(config.added, ReadAddedTokens(directory / "added_tokens.json"));
  }
  RETURN_IF_ERROR(ReadRoles(object, json::object(), file, &config));
  RETURN_IF_ERROR(ReadRoles(map, object, map_path.string(), &config));
  return config;
}

}  // namespace tessera
