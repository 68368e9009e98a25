#include "engine/prompt/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "engine/base/json_file.h"
#include "engine/base/presence.h"
#include "engine/base/sha256.h"
#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct KnownTemplate {
  PromptFormat format;
  std::string_view digest;  // of the normalized text
};
constexpr KnownTemplate kKnown[] = {
    // llava-hf/llava-1.5-*
    {PromptFormat::kLlavaHf, "6fef09c05345e88b9f85e80bcb3491003332050750586568bdf91cfa81965d0c"},
    // Qwen/Qwen3-VL-*-Instruct, and the same with marks of what is trained on, as TRL saves it
    {PromptFormat::kQwen3Vl, "9d879ef91075acbfb2df7e441fd79d60bacfca989cf6d511d2af45c681e94f10"},
    {PromptFormat::kQwen3Vl, "f0b310bf8e64c9dc033756ddd5a0fad3903cc8a0a90ee83aee58d7e4ba313956"},
    // Qwen/Qwen3-*-Instruct-2507, likewise
    {PromptFormat::kQwen3Vl, "64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326"},
    {PromptFormat::kQwen3Vl, "48e17aa3caf5bf20075b6e7366864ee943e00b6f0752aadfe8b670c2ab0291a5"},
};

// Lines end in "\n", and white space at the end does not count.
std::string Normalized(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') result += text[i];
  }
  result.resize(result.find_last_not_of(" \t\r\n") + 1);
  return result;
}

std::string HexDigest(std::string_view text) {
  std::string hex;
  for (const uint8_t byte : Sha256(text)) hex += fmt::format("{:02x}", byte);
  return hex;
}

bool IsOwn(const std::string& text, PromptFormat format) {
  const std::string digest = HexDigest(Normalized(text));
  return std::any_of(std::begin(kKnown), std::end(kKnown), [&](const KnownTemplate& known) {
    return known.format == format && known.digest == digest;
  });
}

bool FamilyReadsTemplates(PromptFormat format) {
  return std::any_of(std::begin(kKnown), std::end(kKnown),
                     [&](const KnownTemplate& known) { return known.format == format; });
}

// Nothing where there is no file, or none in it.
using Found = absl::StatusOr<std::optional<std::string>>;

Found FromText(const fs::path& path) {
  ASSIGN_OR_RETURN(const bool there, IsThere(path));
  if (!there) return std::nullopt;
  ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
  return text;
}

// A text, or a list of named ones, of which "default" is meant.
Found FromJson(const fs::path& path) {
  ASSIGN_OR_RETURN(const bool there, IsThere(path));
  if (!there) return std::nullopt;
  ASSIGN_OR_RETURN(const json file, ReadJsonFile(path));
  if (!file.is_object() || !file.contains("chat_template")) return std::nullopt;
  const json& value = file["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return std::nullopt;
  if (value.is_object() && value.contains("default") && value["default"].is_string()) {
    return value["default"].get<std::string>();
  }
  for (const json& item : value.is_array() ? value : json::array()) {
    if (!item.is_object() || item.value("name", json()) != "default") continue;
    if (const json text = item.value("template", json()); text.is_string()) {
      return text.get<std::string>();
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: chat_template holds neither a text nor one named default", path.string()));
}

struct Place {
  const char* file;
  Found (*read)(const fs::path& path);
  bool of_tokenizer = false;  // where a base model's stays
};
constexpr Place kPlaces[] = {
    {"chat_template.jinja", FromText},
    {"chat_template.json", FromJson},
    {"processor_config.json", FromJson},
    {"tokenizer_config.json", FromJson, /*of_tokenizer=*/true},
};

}  // namespace

std::vector<std::string> CheckChatTemplates(const fs::path& directory, PromptFormat format) {
  std::vector<std::string> warnings;
  for (const Place& place : kPlaces) {
    if (place.of_tokenizer && !FamilyReadsTemplates(format)) continue;
    const fs::path path = directory / place.file;
    const Found found = place.read(path);
    if (found.ok() && (!*found || IsOwn(**found, format))) continue;
    const std::string_view name = TemplateOf(format).name;
    warnings.push_back(
        found.ok() ? fmt::format("{}: this chat template is not the model family's own and is not "
                                 "run; prompts are written in the family's format, {}",
                                 path.string(), name)
                   : fmt::format("{}; if it holds a chat template, that is not used: prompts are "
                                 "written in the family's format, {}",
                                 StatusMessage(found.status()), name));
  }
  return warnings;
}

}  // namespace tessera
