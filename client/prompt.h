// What the model is asked, made of what the user names: a question with images, a file of
// messages, a raw prompt or token ids.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

// As on the command line; exactly one of `question`, `messages_file`, `raw` and `token_ids_file` is
// set.
struct PromptSource {
  std::vector<std::string> images;
  std::string system;
  std::optional<std::string> question;
  std::optional<std::string> messages_file;
  std::optional<std::string> raw;
  std::optional<std::string> token_ids_file;
};

// The user's turn: every image followed by a line break, then the text, as the LLaVA family was
// trained:
// "<image>\n<image>\nWhat differs?".
v1::Message UserMessage(const std::vector<v1::Image>& images, std::string_view text);

// A turn of text only.
v1::Message TextMessage(v1::Role role, std::string_view text);

// Fills the request's input. INVALID_ARGUMENT, naming file and place, for what cannot be read or
// does not go together.
absl::Status SetInput(const PromptSource& source, v1::GenerateRequest* request);

// Counts what `request` would ask.
v1::CountTokensRequest CountRequest(const v1::GenerateRequest& request);

}  // namespace tessera
