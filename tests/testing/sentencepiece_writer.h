// SentencePiece files made by tests.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::testing {

// A message of the wire format, field by field.
class WireWriter {
 public:
  WireWriter& Varint(uint32_t field, uint64_t value) {
    Append(static_cast<uint64_t>(field) << 3);
    Append(value);
    return *this;
  }
  WireWriter& Float(uint32_t field, float value) {
    Append(static_cast<uint64_t>(field) << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(static_cast<char>(bits >> shift));
    return *this;
  }
  WireWriter& Bytes(uint32_t field, std::string_view value) {
    Append(static_cast<uint64_t>(field) << 3 | 2);
    Append(value.size());
    bytes_.append(value);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Append(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }

  std::string bytes_;
};

// Types of pieces: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
struct SentencePieceWriter {
  WireWriter file;
  WireWriter trainer;     // its trainer_spec
  WireWriter normalizer;  // its normalizer_spec

  SentencePieceWriter& Piece(std::string_view text, float score = 0, int type = 1) {
    file.Bytes(1, WireWriter().Bytes(1, text).Float(2, score).Varint(3, type).bytes());
    return *this;
  }
  // "<unk>", "<s>", "</s>" as ids 0, 1, 2.
  SentencePieceWriter& Specials() {
    return Piece("<unk>", 0, 2).Piece("<s>", 0, 3).Piece("</s>", 0, 3);
  }
  // A piece for each byte, and what says so.
  SentencePieceWriter& Bytes() {
    trainer.Varint(35, 1);
    for (size_t byte = 0; byte < 256; ++byte) {
      constexpr char kDigits[] = "0123456789ABCDEF";
      Piece(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + '>', 0, 6);
    }
    return *this;
  }
  std::string Finish() const {
    return WireWriter(file).Bytes(2, trainer.bytes()).Bytes(3, normalizer.bytes()).bytes();
  }
};

// Byte pairs, a space in front, no other normalization.
inline SentencePieceWriter BytePairFile() {
  SentencePieceWriter writer;
  writer.trainer.Varint(3, 2);
  writer.normalizer.Varint(3, 1).Varint(4, 0);
  return writer;
}

}  // namespace tessera::testing
