#include "engine/prompt/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

constexpr std::string_view kImagePlace = "<image>";

class PromptBuilder {
 public:
  explicit PromptBuilder(std::string_view image_break) { prompt_.image_break = image_break; }
  void AddText(std::string_view text, SpecialTokens special) {
    if (!text.empty()) prompt_.chunks.back().push_back({std::string(text), special});
  }
  void AddTemplate(std::string_view text) { AddText(text, SpecialTokens::kParse); }
  void AddImage(int index) {
    prompt_.images.push_back(index);
    prompt_.chunks.emplace_back();
  }
  Prompt Take() && { return std::move(prompt_); }

 private:
  Prompt prompt_{.chunks = {{}}, .images = {}, .image_break = ""};
};

bool IsEmpty(const PromptMessage& message) {
  return std::all_of(message.parts.begin(), message.parts.end(), [](const PromptPart& part) {
    const auto* text = std::get_if<std::string>(&part);
    return text != nullptr && text->empty();
  });
}

absl::Status CheckTexts(std::span<const PromptMessage> messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    for (size_t j = 0; j < messages[i].parts.size(); ++j) {
      const auto* text = std::get_if<std::string>(&messages[i].parts[j]);
      const std::string field = fmt::format("messages[{}].parts[{}]", i, j);
      if (text == nullptr) {
        if (messages[i].role != Role::kSystem) continue;
        return InvalidField(field, "a system message holds text only, no image");
      }
      if (const absl::Status valid = ValidateUtf8(*text); !valid.ok()) {
        return InvalidField(field + ".text", std::string(StatusMessage(valid)));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRoles(std::span<const PromptMessage> messages) {
  const size_t first = !messages.empty() && messages[0].role == Role::kSystem ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (messages[i].role == expected) continue;
    return InvalidField(
        fmt::format("messages[{}].role", i),
        "messages must be: at most one system message, then user and assistant in turn");
  }
  if ((messages.size() - first) % 2 == 1) return absl::OkStatus();
  return InvalidField("messages", "the last message must be a user's");
}

// What Python's str.strip() removes.
bool IsBlank(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string_view Stripped(std::string_view text) {
  size_t begin = text.size();
  size_t end = text.size();
  for (size_t at = 0; at < text.size();) {
    const Utf8Part part = NextUtf8Part(text.substr(at));
    const bool blank = IsBlank(part.code_point);
    if (!blank && begin == text.size()) begin = at;
    at += part.length;
    if (!blank) end = at;
  }
  return text.substr(begin, end - begin);
}

// The conversation with its image before the stripped text of the first message.
absl::StatusOr<std::vector<PromptMessage>> LeadWithImage(std::span<const PromptMessage> messages) {
  std::vector<PromptMessage> result(messages.begin(), messages.end());
  std::vector<PromptPart> images;
  for (PromptMessage& message : result) {
    const auto is_image = [](const PromptPart& part) {
      return std::holds_alternative<ImageRef>(part);
    };
    std::copy_if(message.parts.begin(), message.parts.end(), std::back_inserter(images), is_image);
    std::erase_if(message.parts, is_image);
  }
  if (images.size() != 1) {
    return InvalidField(
        "messages", fmt::format("this model answers about one image, there are {}", images.size()));
  }
  std::string text;
  for (const PromptPart& part : result[0].parts) text += std::get<std::string>(part);
  result[0].parts = {images[0], std::string(Stripped(text))};
  return result;
}

void AddSystem(const PromptTemplate& text, const PromptMessage* message, SpecialTokens special,
               PromptBuilder* builder) {
  if (message == nullptr ? text.system.empty() : IsEmpty(*message)) return;
  builder->AddTemplate(text.before_system);
  if (message == nullptr) builder->AddTemplate(text.system);
  if (message != nullptr) {
    for (const PromptPart& part : message->parts) {
      builder->AddText(std::get<std::string>(part), special);
      builder->AddTemplate(text.after_text);
    }
  }
  builder->AddTemplate(text.after_system);
}

void AddPart(const PromptTemplate& text, const PromptPart& part, SpecialTokens special,
             PromptBuilder* builder) {
  if (const auto* image = std::get_if<ImageRef>(&part)) {
    builder->AddTemplate(text.before_image);
    builder->AddImage(image->index);
    builder->AddTemplate(text.after_image);
  } else {
    builder->AddText(std::get<std::string>(part), special);
    builder->AddTemplate(text.after_text);
  }
}

void AddTurn(const PromptTemplate& text, const PromptMessage& message, SpecialTokens special,
             PromptBuilder* builder) {
  const PromptTemplate::Turn& turn = message.role == Role::kUser ? text.user : text.assistant;
  if (!turn.empty.empty() && IsEmpty(message)) {
    builder->AddTemplate(turn.empty);
    return;
  }
  builder->AddTemplate(turn.before);
  std::vector<PromptPart> parts = message.parts;
  if (text.images_first) {
    std::stable_partition(parts.begin(), parts.end(), [](const PromptPart& part) {
      return std::holds_alternative<ImageRef>(part);
    });
  }
  for (const PromptPart& part : parts) AddPart(text, part, special, builder);
  builder->AddTemplate(turn.after);
}

}  // namespace

absl::StatusOr<Prompt> BuildPrompt(const PromptTemplate& text,
                                   std::span<const PromptMessage> messages, SpecialTokens special) {
  RETURN_IF_ERROR(CheckRoles(messages));
  RETURN_IF_ERROR(CheckTexts(messages));
  PromptBuilder builder(text.image_break);
  const bool has_system = messages[0].role == Role::kSystem;
  AddSystem(text, has_system ? &messages[0] : nullptr, special, &builder);
  std::span<const PromptMessage> turns = messages.subspan(has_system ? 1 : 0);
  std::vector<PromptMessage> rearranged;
  if (text.one_image) {
    ASSIGN_OR_RETURN(rearranged, LeadWithImage(turns));
    turns = rearranged;
  }
  for (const PromptMessage& message : turns) AddTurn(text, message, special, &builder);
  builder.AddTemplate(text.open_answer);
  return std::move(builder).Take();
}

absl::StatusOr<Prompt> SplitRawPrompt(std::string_view raw, SpecialTokens special,
                                      std::string_view image_break) {
  if (const absl::Status valid = ValidateUtf8(raw); !valid.ok()) {
    return InvalidField("prompt", std::string(StatusMessage(valid)));
  }
  PromptBuilder builder(image_break);
  int images = 0;
  for (size_t place = raw.find(kImagePlace); place != std::string_view::npos;
       place = raw.find(kImagePlace)) {
    builder.AddText(raw.substr(0, place), special);
    builder.AddImage(images++);
    raw.remove_prefix(place + kImagePlace.size());
    if (raw.starts_with(image_break)) raw.remove_prefix(image_break.size());
  }
  builder.AddText(raw, special);
  return std::move(builder).Take();
}

std::string PromptText(const Prompt& prompt, std::string_view image) {
  std::string text;
  for (size_t i = 0; i < prompt.chunks.size(); ++i) {
    if (i > 0) text.append(image).append(prompt.image_break);
    for (const TextSpan& span : prompt.chunks[i]) text.append(span.text);
  }
  return text;
}

std::vector<int32_t> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt, bool added) {
  std::vector<int32_t> ids;
  if (added && tokenizer.adds_bos() && tokenizer.bos().has_value()) ids.push_back(*tokenizer.bos());
  for (size_t i = 0; i < prompt.chunks.size(); ++i) {
    if (i > 0) ids.push_back(kImagePlaceholder);
    const std::vector<int32_t> chunk = tokenizer.Encode(prompt.chunks[i]);
    ids.insert(ids.end(), chunk.begin(), chunk.end());
    if (added && tokenizer.adds_eos() && tokenizer.eos().has_value())
      ids.push_back(*tokenizer.eos());
  }
  return ids;
}

std::vector<int32_t> EncodeWholePrompt(const Tokenizer& tokenizer, const Prompt& prompt,
                                       int32_t image_token) {
  std::vector<TextSpan> whole;
  for (size_t i = 0; i < prompt.chunks.size(); ++i) {
    if (i > 0) {
      whole.push_back({std::string(tokenizer.TokenBytes(image_token)), SpecialTokens::kParse});
    }
    whole.insert(whole.end(), prompt.chunks[i].begin(), prompt.chunks[i].end());
  }
  std::vector<int32_t> ids = tokenizer.Encode(whole);
  std::replace(ids.begin(), ids.end(), image_token, kImagePlaceholder);
  if (tokenizer.adds_bos() && tokenizer.bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

}  // namespace tessera
