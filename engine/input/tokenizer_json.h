// Reads tokenizer.json, the format of the tokenizers library
// (https://huggingface.co/docs/tokenizers), as far as byte-level BPE goes: what GPT-2's, Phi's and
// Qwen's fast classes write.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "engine/input/tokenizer_config.h"
#include "engine/input/tokenizer_parts.h"

namespace tessera {

// InvalidArgument names file and entry. Unimplemented names the stage that is not supported: models
// other than BPE, byte fallback and Metaspace (SentencePiece), normalizers other than NFC.
absl::StatusOr<TokenizerParts> ReadTokenizerJson(const std::filesystem::path& path,
                                                 const TokenizerConfig& config);

}  // namespace tessera
