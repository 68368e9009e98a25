// The stages of a tokenizer, as the readers of the several file formats put them together.
//
// To read another format is to write one function that returns these parts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/input/added_tokens.h"
#include "engine/input/normalizer.h"
#include "engine/input/segmenter.h"
#include "engine/input/token_table.h"
#include "engine/input/tokenizer_config.h"

namespace tessera {

// Text is cut at raw_added tokens, what remains is normalized, cut at added tokens, and the rest
// goes to the segmenter.
struct TokenizerParts {
  TokenTable tokens;
  AddedTokens raw_added;
  NormalForm normal_form = NormalForm::kNone;
  AddedTokens added;
  std::unique_ptr<Segmenter> segmenter;
  std::optional<int32_t> bos, eos, unk, pad;
  bool adds_bos = false;
};

// When a special string is looked for: transformers' own classes normalize the whole text first,
// the tokenizers library (tokenizer.json) looks in the raw text unless the token says `normalized`.
enum class AddedTokenSearch { kAfterNormalizing, kAsTheTokenSays };

// Fills in `added` and the tokens that `config` names, after the vocabulary's own tokens are in the
// table. A token that is named but stands in no file gets the next free id, as in transformers.
absl::Status AddTokens(const std::vector<AddedTokenEntry>& added, const TokenizerConfig& config,
                       AddedTokenSearch search, TokenizerParts* parts);

}  // namespace tessera
