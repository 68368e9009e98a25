// Runs one folder of expected tokenizer results: a model directory's vocabulary files beside the
// results that the official library gave (expected*.jsonl.gz, one JSON object a line) and a
// meta.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tessera::testing {

struct TokenizerCasesResult {
  int passed = 0;
  std::vector<std::string>
      failures;  // one line each: file, line number, what was expected and what came
};

// Encoding (all special strings parsed, and none), prompts with image places, decoding, incremental
// decoding, and the special ids of meta.json. Files that are not there are no failure; a vocabulary
// that does not load is one. Packed vocabularies (tokenizer.json.gz) are unpacked into a temporary
// directory.
TokenizerCasesResult RunTokenizerCases(const std::filesystem::path& folder);

}  // namespace tessera::testing
