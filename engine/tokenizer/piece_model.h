// What cuts a normalized piece of text into tokens, where tokens are made of characters: byte pairs
// over characters, or unigrams.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tessera {

// Immutable, used by any number of threads.
class PieceModel {
 public:
  virtual ~PieceModel() = default;

  // Appends the ids of `text`: valid UTF-8, normalized.
  virtual void Append(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

// What stands for a character that is in no token.
struct UnknownCharacters {
  // One token for each byte; -1: that byte has none. A character with such a byte is unknown.
  std::optional<std::array<int32_t, 256>> byte_ids;
  int32_t unknown = -1;  // the token for what has no bytes; -1: it is left out
  bool fuse = true;      // unknown neighbours share one token
};

// Writes ids in the order of the text.
class TokenWriter {
 public:
  TokenWriter(const UnknownCharacters& unknown, std::vector<int32_t>* ids)
      : unknown_(unknown), ids_(ids) {}

  void Add(int32_t id) {
    ids_->push_back(id);
    after_unknown_ = false;
  }

  // `text`: characters that no token has.
  void AddUnknown(std::string_view text) {
    if (AddBytes(text)) return;
    if (unknown_.unknown >= 0 && !(after_unknown_ && unknown_.fuse)) {
      ids_->push_back(unknown_.unknown);
    }
    after_unknown_ = true;
  }

 private:
  bool AddBytes(std::string_view text) {
    if (!unknown_.byte_ids.has_value()) return false;
    const auto id_of = [&](char byte) { return (*unknown_.byte_ids)[static_cast<uint8_t>(byte)]; };
    for (const char byte : text) {
      if (id_of(byte) < 0) return false;
    }
    for (const char byte : text) Add(id_of(byte));
    return true;
  }

  const UnknownCharacters& unknown_;
  std::vector<int32_t>* ids_;
  bool after_unknown_ = false;
};

}  // namespace tessera
