// What every tokenizer must do with any text, once it was read: give ids of its own, and write
// valid UTF-8.
#pragma once

#include <string_view>

#include "engine/base/check.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera::fuzz {

inline void UseTokenizer(TokenizerParts parts) {
  const Tokenizer tokenizer(std::move(parts));
  for (const std::string_view text :
       {"", "Is it 12 o'clock?  \n\n<|endoftext|> naïve 漢字 🙂\t"}) {
    for (const SpecialTokens special : {SpecialTokens::kText, SpecialTokens::kParse}) {
      const std::vector<int32_t> ids = tokenizer.Encode(text, special);
      for (const int32_t id : ids) TESSERA_CHECK(id >= 0 && id < tokenizer.vocabulary());
      TESSERA_CHECK(ValidateUtf8(tokenizer.Decode(ids, false)).ok());
    }
  }
}

}  // namespace tessera::fuzz
