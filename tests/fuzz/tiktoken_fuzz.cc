// Any bytes as a *.tiktoken; the first tells which class reads it.
#include "engine/tokenizer/tiktoken_ranks.h"
#include "tests/fuzz/any_text.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  tessera::TokenizerConfig config;
  config.tokenizer_class = data[0] % 2 == 0 ? "QWenTokenizer" : "Arcade100kTokenizer";
  auto parts = tessera::ReadTiktokenRanks(
      tessera::fuzz::WriteInput("ranks.tiktoken", data + 1, size - 1), config);
  if (parts.ok()) tessera::fuzz::UseTokenizer(*std::move(parts));
  return 0;
}
