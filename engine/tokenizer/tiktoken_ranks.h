// Reads *.tiktoken, the ranks of OpenAI's tiktoken: a token's bytes in base64, a space and its
// rank, one a line. A token's rank is its id and also the order in which it is merged.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace tessera {

// The file holds ordinary tokens only; control tokens, the pattern and NFC belong to the Python
// class that config.tokenizer_class names: QWenTokenizer (Qwen 1) or Arcade100kTokenizer (StableLM
// 2). Another one is Unimplemented. InvalidArgument names file and line.
absl::StatusOr<TokenizerParts> ReadTiktokenRanks(const std::filesystem::path& path,
                                                 TokenizerConfig config);

}  // namespace tessera
