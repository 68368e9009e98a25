// Reads tokenizer.json, the format of the tokenizers library
// (https://huggingface.co/docs/tokenizers): byte-level BPE, as GPT-2's, Phi's and Qwen's fast
// classes write it, and what SentencePiece files are converted to.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace tessera {

// InvalidArgument names file and entry. Unimplemented names the stage that is not supported
// (tokenizer_json_stages.h says which are).
absl::StatusOr<TokenizerParts> ReadTokenizerJson(const std::filesystem::path& path,
                                                 const TokenizerConfig& config);

}  // namespace tessera
