// What each token id writes, and which id writes a given string.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

namespace tessera {

enum class TokenKind : char {
  kBytes,    // any bytes, maybe half a character
  kText,     // whole characters, with the spaces that stand for U+2581
  kLiteral,  // whole characters that are written as they are
  // a control piece of SentencePiece: writes its name, or nothing when control tokens are
  kMark,
  // skipped, but bytes before and after it form no character
  kAdded,  // an added token
};

class TokenTable {
 public:
  // A token of the vocabulary proper. InvalidArgument when the id is taken.
  absl::Status AddOrdinary(int32_t id, std::string bytes, TokenKind kind = TokenKind::kBytes);

  // An added token. `control`: it says something about the text ("<|endoftext|>") and is no part of
  // it. An id of the vocabulary may be added again with the same content, as GPT-2's
  // "<|endoftext|>" is; another one is InvalidArgument.
  absl::Status AddAdded(int32_t id, std::string_view content, bool control);

  // Rows in use: the highest id plus one. There may be holes.
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }

  // Empty for an id that no token has.
  std::string_view Bytes(int32_t id) const;
  TokenKind Kind(int32_t id) const;
  bool IsControl(int32_t id) const;

  // Of several tokens with the same bytes the added one, else the one that was added to the table
  // first.
  std::optional<int32_t> Find(std::string_view bytes) const;

 private:
  struct Entry {
    std::string bytes;
    TokenKind kind = TokenKind::kBytes;
    bool known = false;
    bool control = false;
  };

  Entry& Grow(int32_t id);
  const Entry* At(int32_t id) const;

  std::vector<Entry> entries_;
  absl::flat_hash_map<std::string, int32_t> ids_;
};

}  // namespace tessera
