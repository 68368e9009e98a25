// From a conversation to token ids with places for images.
//
// A prompt is cut at its images and each chunk is tokenized on its own, as LLaVA's
// tokenizer_image_token does; that gives other ids than tokenizing the whole string would. Inside a
// chunk the template's words and the user's are one text, but only the template's may hold control
// tokens, unless the request asks otherwise: what a user types stays text, "<image>" included.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/prompt/prompt_template.h"
#include "engine/tokenizer/marked_text.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {

enum class Role { kSystem, kUser, kAssistant };

// An image of the request, by its place among them.
struct ImageRef {
  int index = 0;
};

using PromptPart = std::variant<std::string, ImageRef>;

struct PromptMessage {
  Role role = Role::kUser;
  std::vector<PromptPart> parts;
};

// Chunk, image, chunk, …, chunk: one more chunk than images.
struct Prompt {
  std::vector<std::vector<TextSpan>> chunks;
  std::vector<int> images;            // ImageRef::index of each, in the order of the prompt
  std::string_view image_break = "";  // the template's
};

// Stands for an image among token ids.
inline constexpr int32_t kImagePlaceholder = -200;

// Puts messages into a template: perhaps a system message, then user and assistant in turn, a user
// last. `special`: what may be found in the messages' own texts. Errors name the field, e.g.
// "messages[2].parts[0].text".
absl::StatusOr<Prompt> BuildPrompt(const PromptTemplate& text,
                                   std::span<const PromptMessage> messages, SpecialTokens special);

// A prompt as it stands; each "<image>" in it, with the `image_break` that may follow, is the place
// of the next image. The error names the field "prompt".
absl::StatusOr<Prompt> SplitRawPrompt(std::string_view raw, SpecialTokens special,
                                      std::string_view image_break = "");

// The prompt as text, with `image` and the template's break where images go.
std::string PromptText(const Prompt& prompt, std::string_view image = "<image>");

// The ids of each chunk with kImagePlaceholder between them, after bos and with eos behind each
// chunk where the tokenizer adds them and `added` allows it.
std::vector<int32_t> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt,
                                  bool added = true);

// The ids of the prompt tokenized as one text, in which `image_token`'s own text stands where
// images go; its id becomes kImagePlaceholder. After bos where the tokenizer adds one.
std::vector<int32_t> EncodeWholePrompt(const Tokenizer& tokenizer, const Prompt& prompt,
                                       int32_t image_token);

}  // namespace tessera
