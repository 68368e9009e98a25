// How the texts of tokens join to one text: what differs between families beyond the tokens
// themselves.
#pragma once

namespace tessera {

// What becomes of bytes that form no character.
enum class BrokenBytes {
  kPerPart,  // one U+FFFD for each maximal part of a character, as Python's decoder gives
  kPerByte,  // one for each byte that is in no character (SentencePiece)
  kPerRun,   // a run of byte tokens is UTF-8 as a whole, or each of its bytes becomes one
             // (ByteFallback of the tokenizers library)
};

struct TokenJoining {
  BrokenBytes broken_bytes = BrokenBytes::kPerPart;

  // Spaces that a run loses at its beginning, because encoding put them there. A run is what lies
  // between added tokens that are written, or else the whole text.
  bool added_tokens_end_runs = false;
  enum class Leading { kKept, kOneLost, kAllLost };
  // LlamaTokenizer: the first token of a run loses one; Metaspace of the tokenizers library: all,
  // inside it as well.
  Leading first_token = Leading::kKept;
  // SentencePiece: before anything is written in a run, one token loses a space, or each does.
  Leading run = Leading::kKept;
  // Strip of the tokenizers library: what is written loses so many.
  int stripped_spaces = 0;
};

}  // namespace tessera
