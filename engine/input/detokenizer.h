// Tokens to text while they come.
#pragma once

#include <cstdint>
#include <string>

#include "engine/input/tokenizer.h"

namespace tessera {

// One per sequence. What Push and Finish return joins to Tokenizer::Decode of all ids.
class Detokenizer {
 public:
  // `tokenizer` must outlive this. `skip_special`: control tokens write nothing.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // The text that is certain after this token: whole characters only, so it may be empty.
  std::string Push(int32_t id);

  // The rest: nothing, or U+FFFD for a character that was never finished.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // the beginning of a character, at most three bytes between calls
};

}  // namespace tessera
