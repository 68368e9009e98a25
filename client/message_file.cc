#include "client/message_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "client/file.h"
#include "client/prompt.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

// One file being read: knows what its errors and paths are relative to.
class MessageFile {
 public:
  explicit MessageFile(std::filesystem::path path) : path_(std::move(path)) {}

  absl::StatusOr<v1::Conversation> Load() const {
    const absl::StatusOr<std::string> text = ReadFile(path_);
    if (!text.ok()) return text.status();
    absl::StatusOr<Json> json = Parse(*text);
    if (!json.ok()) return json.status();
    if (!json->is_array() || json->empty()) return Error("must be a JSON array of messages");
    v1::Conversation conversation;
    for (size_t i = 0; i < json->size(); ++i) {
      const std::string place = fmt::format("messages[{}]", i);
      if (absl::Status status = LoadMessage((*json)[i], place, conversation.add_messages());
          !status.ok()) {
        return status;
      }
    }
    return conversation;
  }

 private:
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(fmt::format("{}: {}", path_.string(), what));
  }

  absl::StatusOr<Json> Parse(const std::string& text) const {
    try {
      return Json::parse(text);
    } catch (const Json::exception& error) {
      // "[json.exception.…] parse error at line 3, column 5: …"
      const std::string_view what = error.what();
      return Error(std::string(what.substr(what.find("] ") + 2)));
    }
  }

  absl::Status LoadMessage(const Json& json, const std::string& place, v1::Message* message) const {
    if (!json.is_object()) return Error(place + " must be an object with \"role\" and \"content\"");
    for (const auto& [key, value] : json.items()) {
      if (key != "role" && key != "content")
        return Error(fmt::format("{}.{} is unknown", place, key));
    }
    const std::string role =
        json.contains("role") && json["role"].is_string() ? json["role"] : Json("");
    if (role == "system") message->set_role(v1::ROLE_SYSTEM);
    if (role == "user") message->set_role(v1::ROLE_USER);
    if (role == "assistant") message->set_role(v1::ROLE_ASSISTANT);
    if (message->role() == v1::ROLE_UNSPECIFIED) {
      return Error(place + R"(.role must be "system", "user" or "assistant")");
    }
    const Json content = json.value("content", Json());
    if (content.is_string()) {
      message->add_parts()->set_text(content.get<std::string>());
      return absl::OkStatus();
    }
    if (!content.is_array() || content.empty()) {
      return Error(place + ".content must be a string or an array of parts");
    }
    for (size_t i = 0; i < content.size(); ++i) {
      const std::string part_place = fmt::format("{}.content[{}]", place, i);
      if (absl::Status status = LoadPart(content[i], part_place, message->add_parts());
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status LoadPart(const Json& json, const std::string& place, v1::Part* part) const {
    const bool one = json.is_object() && json.size() == 1 && json.begin()->is_string();
    if (one && json.contains("text")) {
      part->set_text(json["text"].get<std::string>());
      return absl::OkStatus();
    }
    if (!one || !json.contains("image")) {
      return Error(place + R"( must be {"text": "…"} or {"image": "path"})");
    }
    absl::StatusOr<v1::Image> image =
        LoadImage(path_.parent_path() / json["image"].get<std::string>());
    if (!image.ok()) {
      return Error(fmt::format("{}.image: {}", place, std::string(image.status().message())));
    }
    *part->mutable_image() = *std::move(image);
    return absl::OkStatus();
  }

  std::filesystem::path path_;
};

std::string_view RoleName(v1::Role role) {
  if (role == v1::ROLE_SYSTEM) return "system";
  return role == v1::ROLE_ASSISTANT ? "assistant" : "user";
}

}  // namespace

absl::StatusOr<v1::Conversation> LoadConversation(const std::filesystem::path& path) {
  return MessageFile(path).Load();
}

absl::Status SaveConversation(const v1::Conversation& conversation,
                              const std::vector<std::string>& image_paths,
                              const std::filesystem::path& path) {
  Json messages = Json::array();
  size_t image = 0;
  for (const v1::Message& message : conversation.messages()) {
    Json content = Json::array();
    for (const v1::Part& part : message.parts()) {
      if (part.has_text()) {
        content.push_back({{"text", part.text()}});
      } else {
        content.push_back({{"image", std::filesystem::absolute(image_paths.at(image++)).string()}});
      }
    }
    const bool plain = content.size() == 1 && content[0].contains("text");
    messages.push_back(
        {{"role", RoleName(message.role())}, {"content", plain ? content[0]["text"] : content}});
  }
  return WriteFile(path, messages.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tessera
