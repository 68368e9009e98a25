// How SentencePiece prepares text before it is cut into pieces (Kudo and Richardson 2018,
// "SentencePiece"): characters replaced by a table, spaces written as U+2581, one put in front,
// extra ones removed.
#pragma once

#include <string>
#include <string_view>

#include "engine/tokenizer/byte_trie.h"
#include "engine/tokenizer/charsmap.h"

namespace tessera {

// Immutable, used by any number of threads.
struct SentencePieceNormalizer {
  Charsmap charsmap;
  ByteTrie user_defined;  // stay as they are
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool space_is_suffix = false;  // the dummy comes last

  // `text` is valid UTF-8, and so is the result. Empty where nothing but removed spaces remains.
  std::string Normalize(std::string_view text) const;
};

}  // namespace tessera
