// Small tokenizers written to disk by a test: the 256 bytes as ids 0 to 255 in the order of their
// values, one id for each merge from 256 on, then what the test adds.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera::testing {

struct TokenizerFiles {
  nlohmann::json vocab;
  std::vector<std::string> merges;  // as lines of merges.txt
  nlohmann::json config;            // tokenizer_config.json

  // `merges`: pairs as spelled in the byte alphabet with a space between, e.g. "Ġ t".
  static TokenizerFiles Make(const std::string& tokenizer_class, std::vector<std::string> merges);

  // Adds a token after all others, or with the id that the vocabulary has for it.
  void AddToken(const std::string& content, bool special);

  // Writes vocab.json, merges.txt and tokenizer_config.json.
  void WriteSlow(const std::filesystem::path& directory) const;

  // The same as a tokenizer.json: with NFC for a Qwen2Tokenizer, without for others.
  nlohmann::json Fast() const;
};

void WriteFile(const std::filesystem::path& path, const std::string& text);

}  // namespace tessera::testing
