// What stands beside a vocabulary, in the files of the transformers library: which tokens were
// added to it and which of them end a text, pad a batch and so on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct AddedTokenEntry {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool normalized = false;  // tokenizer.json: looked for in normalized text
};

struct TokenizerConfig {
  std::string tokenizer_class;         // e.g. "CodeGenTokenizer"; empty: not said
  std::vector<AddedTokenEntry> added;  // by content
  // Contents of the tokens with a role; nothing: no such token, or not said.
  std::optional<std::string> bos, eos, unk, pad;
  bool says_eos = false;                   // eos was given, if only as null
  std::vector<std::string> other_special;  // further control tokens
  std::optional<bool> add_bos, add_eos;    // put one before, one after a text
  std::optional<bool> add_prefix_space;
  std::optional<bool> legacy;  // LlamaTokenizer: every stretch between added tokens gets a space

  // Of the class LlamaTokenizer or LlamaTokenizerFast: which of the two reads a directory is the
  // caller's choice.
  bool is_llama() const {
    return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "LlamaTokenizerFast";
  }
};

// Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json of a model directory,
// all of which may be absent. As in transformers 4.37, the first wins over the second where both
// say something, and the third counts only if the first has no added_tokens_decoder. What no file
// says is as in the class, where that is LlamaTokenizer.
// InvalidArgument names file and entry.
absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(const std::filesystem::path& directory);

// One added token in the form that tokenizer_config.json and tokenizer.json share; `what` names it
// in errors. The id is left 0. Unimplemented for lstrip, rstrip and single_word, which no supported
// family uses.
absl::StatusOr<AddedTokenEntry> ParseAddedToken(const nlohmann::json& value,
                                                const std::string& what);

}  // namespace tessera
