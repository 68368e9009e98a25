// Byte-pair encoding over characters (Sennrich et al. 2016), as SentencePiece and the tokenizers
// library do it on whole stretches of text: spaces are characters like others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/byte_trie.h"
#include "engine/tokenizer/piece_model.h"

namespace tessera {

// What the encoder knows of a vocabulary. A symbol is a character or what characters merge to; its
// number is a token's id, or a number beyond all ids for what is no token by itself.
struct CharacterVocabulary {
  absl::flat_hash_map<char32_t, int32_t> characters;  // to symbols
  MergeTable merges;
  // Pairs of characters (first << 32 | second) between which a merge may be. Text is cut at all
  // others.
  absl::flat_hash_set<uint64_t> joints;
  int32_t tokens = 0;  // symbols from here on are no tokens

  ByteTrie user_defined;  // values are ids; cut out, longest first, and never merged
  struct Part {
    int32_t symbol;
    size_t bytes;
  };
  // Tokens that merges may pass through but that are not written: what stands for them.
  absl::flat_hash_map<int32_t, std::vector<Part>> unused;
  // Texts that are one token without regard to merges.
  absl::flat_hash_map<std::string, int32_t> whole_texts;
  UnknownCharacters unknown;

  // Adds a merge of two symbols, whose texts are given.
  void AddMerge(std::pair<std::string_view, int32_t> left,
                std::pair<std::string_view, int32_t> right, Merge merge);
};

class CharacterPairs : public PieceModel {
 public:
  explicit CharacterPairs(CharacterVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  // O(n log n) in the longest stretch without a cut.
  void Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  struct Scratch;

  // Merges scratch->symbols, whose text is `word`, and writes what comes out.
  void WriteWord(std::string_view word, Scratch* scratch, TokenWriter* writer) const;
  void WriteSymbol(int32_t symbol, std::string_view text, TokenWriter* writer) const;

  CharacterVocabulary vocabulary_;
};

}  // namespace tessera
