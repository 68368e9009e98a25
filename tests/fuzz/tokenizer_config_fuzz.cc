// Any bytes as a tokenizer_config.json, beside a vocabulary that is right.
#include "engine/input/tokenizer_config.h"
#include "engine/input/vocab_and_merges.h"
#include "tests/fuzz/any_text.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr char kVocabulary[] = R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})";
  static constexpr char kMerges[] = "#version: 0.2\na b\n";
  const auto write = [](const char* name, const char* text, size_t length) {
    tessera::fuzz::WriteInput(name, reinterpret_cast<const uint8_t*>(text), length);
  };
  write("vocab.json", kVocabulary, sizeof(kVocabulary) - 1);
  write("merges.txt", kMerges, sizeof(kMerges) - 1);
  const auto directory =
      tessera::fuzz::WriteInput("tokenizer_config.json", data, size).parent_path();
  auto config = tessera::ReadTokenizerConfig(directory);
  if (!config.ok()) return 0;
  auto parts = tessera::ReadVocabAndMerges(directory, *std::move(config));
  if (parts.ok()) tessera::fuzz::UseTokenizer(*std::move(parts));
  return 0;
}
