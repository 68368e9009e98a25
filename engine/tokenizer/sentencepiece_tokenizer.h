// Reads tokenizer.model, a SentencePiece vocabulary, as LlamaTokenizer does, or as SentencePiece
// itself where no tokenizer_config.json names a class.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace tessera {

// `fast`: as LlamaTokenizerFast of transformers 4.37, which converts the file: every stretch of
// text between added tokens gets a space, whatever `legacy` says. InvalidArgument names the file
// and the place in it; Unimplemented another config.tokenizer_class.
absl::StatusOr<TokenizerParts> ReadSentencePieceTokenizer(const std::filesystem::path& path,
                                                          TokenizerConfig config, bool fast);

}  // namespace tessera
