#include "client/prompt.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "client/file.h"
#include "client/message_file.h"

namespace tessera {
namespace {

using Images = google::protobuf::RepeatedPtrField<v1::Image>;

absl::Status AppendImages(const std::vector<std::string>& paths, Images* images) {
  for (const std::string& path : paths) {
    absl::StatusOr<v1::Image> image = LoadImage(path);
    if (!image.ok()) return image.status();
    *images->Add() = *std::move(image);
  }
  return absl::OkStatus();
}

// A JSON array of ids, -200 where an image goes.
absl::Status AppendIds(const std::string& path, google::protobuf::RepeatedField<int32_t>* ids) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: must be a JSON array of token ids, such as [1, -200, 338]", path));
  }
  for (size_t i = 0; i < json.size(); ++i) {
    const auto& id = json[i];
    if (!id.is_number_integer() || id < std::numeric_limits<int32_t>::min() ||
        id > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: [{}] is {}, not a token id", path, i, id.dump()));
    }
    ids->Add(id.get<int32_t>());
  }
  return absl::OkStatus();
}

absl::Status SetConversation(const PromptSource& source, v1::Conversation* conversation) {
  Images images;
  if (absl::Status status = AppendImages(source.images, &images); !status.ok()) return status;
  if (!source.system.empty()) {
    *conversation->add_messages() = TextMessage(v1::ROLE_SYSTEM, source.system);
  }
  *conversation->add_messages() = UserMessage({images.begin(), images.end()}, *source.question);
  return absl::OkStatus();
}

}  // namespace

v1::Message UserMessage(const std::vector<v1::Image>& images, std::string_view text) {
  v1::Message message;
  message.set_role(v1::ROLE_USER);
  for (size_t i = 0; i < images.size(); ++i) {
    if (i > 0) message.add_parts()->set_text("\n");
    *message.add_parts()->mutable_image() = images[i];
  }
  std::string* last = message.add_parts()->mutable_text();
  if (!images.empty()) last->push_back('\n');
  last->append(text);
  return message;
}

v1::Message TextMessage(v1::Role role, std::string_view text) {
  v1::Message message;
  message.set_role(role);
  message.add_parts()->set_text(std::string(text));
  return message;
}

absl::Status SetInput(const PromptSource& source, v1::GenerateRequest* request) {
  if (!source.system.empty() && !source.question.has_value()) {
    return absl::InvalidArgumentError("--system goes with a question only");
  }
  if (source.question.has_value()) return SetConversation(source, request->mutable_conversation());
  if (source.raw.has_value()) {
    request->mutable_raw_prompt()->set_text(*source.raw);
    return AppendImages(source.images, request->mutable_raw_prompt()->mutable_images());
  }
  if (source.token_ids_file.has_value()) {
    v1::TokenPrompt* prompt = request->mutable_token_prompt();
    if (absl::Status status = AppendIds(*source.token_ids_file, prompt->mutable_ids());
        !status.ok()) {
      return status;
    }
    return AppendImages(source.images, prompt->mutable_images());
  }
  if (!source.messages_file.has_value()) return absl::InvalidArgumentError("no question");
  if (!source.images.empty()) {
    return absl::InvalidArgumentError(
        "--image does not go with --messages: name the images in the file");
  }
  absl::StatusOr<v1::Conversation> conversation = LoadConversation(*source.messages_file);
  if (!conversation.ok()) return conversation.status();
  *request->mutable_conversation() = *std::move(conversation);
  return absl::OkStatus();
}

v1::CountTokensRequest CountRequest(const v1::GenerateRequest& request) {
  v1::CountTokensRequest count;
  count.set_model(request.model());
  count.set_parse_special_tokens(request.parse_special_tokens());
  if (request.has_max_image_tokens()) count.set_max_image_tokens(request.max_image_tokens());
  if (request.has_conversation()) *count.mutable_conversation() = request.conversation();
  if (request.has_raw_prompt()) *count.mutable_raw_prompt() = request.raw_prompt();
  if (request.has_token_prompt()) *count.mutable_token_prompt() = request.token_prompt();
  return count;
}

}  // namespace tessera
