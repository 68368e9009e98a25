// Conversations as files: a JSON array of {"role": "system|user|assistant", "content": "text" or
// [{"text": "…"} | {"image": "path"}]}, where paths are relative to the file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

// INVALID_ARGUMENT "FILE: messages[2].content[0].image: …" for what is not so, or for an image
// that cannot be read.
absl::StatusOr<v1::Conversation> LoadConversation(const std::filesystem::path& path);

// `image_paths` names the conversation's images in order; they are written as absolute paths.
absl::Status SaveConversation(const v1::Conversation& conversation,
                              const std::vector<std::string>& image_paths,
                              const std::filesystem::path& path);

}  // namespace tessera
