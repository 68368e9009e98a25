// Finds added tokens: strings that become one id whatever the vocabulary's merges would make of
// them, e.g.
// "<|endoftext|>" or Phi's runs of spaces. They cut the text; what lies between is tokenized piece
// by piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/marked_text.h"

namespace tessera {

struct AddedTokenMatch {
  size_t begin, end;  // in bytes
  int32_t id;
};

class AddedTokens {
 public:
  // `content` must not be empty; a content that was added before keeps its first id. `control`:
  // matches only where every byte is marked kParse; others match wherever no byte is marked kNone.
  void Add(std::string_view content, int32_t id, bool control);

  // The leftmost, then longest match that the marks allow and that begins at `from` or later. Time:
  // the length of the text times the longest common prefix with an added token.
  std::optional<AddedTokenMatch> Find(MarkedView view, size_t from) const;

  bool empty() const { return contents_.empty(); }

 private:
  struct Content {
    int32_t id;
    bool control;
  };

  std::optional<AddedTokenMatch> MatchAt(MarkedView view, size_t begin) const;

  std::array<bool, 256> begins_{};  // by byte: whether a content begins with it
  // A trie. The node of the empty string is 0.
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // (node << 8 | byte) -> node
  absl::flat_hash_map<uint32_t, Content> contents_;   // by the node where a content ends
  uint32_t nodes_ = 1;
};

}  // namespace tessera
