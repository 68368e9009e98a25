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
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/segmenter.h"
#include "engine/tokenizer/text_normalizer.h"
#include "engine/tokenizer/token_joining.h"
#include "engine/tokenizer/token_table.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace tessera {

// Text is cut at raw_added tokens, what remains is normalized, cut at added tokens, and the rest
// goes to the segmenter.
struct TokenizerParts {
  TokenTable tokens;
  AddedTokens raw_added;
  TextNormalizer normalizer;
  AddedTokens added;
  std::unique_ptr<Segmenter> segmenter;
  std::optional<int32_t> bos, eos, unk, pad;
  bool adds_bos = false;
  bool adds_eos = false;
  // What a space put before the text becomes when no text follows it: left out before a control
  // token that was added.
  std::optional<int32_t> lone_space;
  TokenJoining joining;
};

// Whose rules added tokens follow.
enum class AddedTokenRules {
  kSlow,   // transformers' Python classes: looked for in the whole normalized text; control tokens
           // are those with a role
  kRanks,  // classes on tiktoken: the same, but a token that says so is a control token too
  kFast,   // the tokenizers library (tokenizer.json): looked for in the raw text unless the token
           // says `normalized`; control tokens as above
};

// Fills in `added` and the tokens that `config` names, after the vocabulary's own tokens are in the
// table. A token that is named but stands in no file gets the next free id, as in transformers.
absl::Status AddTokens(const std::vector<AddedTokenEntry>& added, const TokenizerConfig& config,
                       AddedTokenRules rules, TokenizerParts* parts);

}  // namespace tessera
