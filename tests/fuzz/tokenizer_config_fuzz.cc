// Any bytes as a tokenizer_config.json, beside a vocabulary that is right.
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/tokenizer/vocab_and_merges.h"
#include "tests/fuzz/any_text.h"
#include "tests/fuzz/input_file.h"

namespace tessera::fuzz {
namespace {

void Write(const char* name, const std::string& text) {
  WriteInput(name, reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

bool WriteVocabulary() {
  nlohmann::json vocabulary = {{"ab", 256}, {"<|endoftext|>", 257}};
  for (int byte = 0; byte < 256; ++byte) vocabulary[SpellByte(static_cast<uint8_t>(byte))] = byte;
  Write("vocab.json", vocabulary.dump());
  Write("merges.txt", "#version: 0.2\na b\n");
  return true;
}

}  // namespace
}  // namespace tessera::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static const bool written = tessera::fuzz::WriteVocabulary();
  const auto directory =
      tessera::fuzz::WriteInput("tokenizer_config.json", data, size).parent_path();
  auto config = tessera::ReadTokenizerConfig(directory);
  if (!config.ok()) return 0;
  auto parts = tessera::ReadVocabAndMerges(directory, *std::move(config));
  if (parts.ok()) tessera::fuzz::UseTokenizer(*std::move(parts));
  return 0;
}
