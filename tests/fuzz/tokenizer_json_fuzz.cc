// Any bytes as a tokenizer.json.
#include "engine/tokenizer/tokenizer_json.h"
#include "tests/fuzz/any_text.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parts =
      tessera::ReadTokenizerJson(tessera::fuzz::WriteInput("tokenizer.json", data, size), {});
  if (parts.ok()) tessera::fuzz::UseTokenizer(*std::move(parts));
  return 0;
}
