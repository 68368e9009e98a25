// Reads vocab.json and merges.txt, as the Python classes of GPT-2, CodeGen (Phi) and Qwen2 do.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace tessera {

// The files do not say how text is normalized and cut into words: config.tokenizer_class does, and
// an unknown one is Unimplemented. InvalidArgument names file and entry.
absl::StatusOr<TokenizerParts> ReadVocabAndMerges(const std::filesystem::path& directory,
                                                  TokenizerConfig config);

}  // namespace tessera
