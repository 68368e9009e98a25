// What a SentencePiece file (tokenizer.model, sentencepiece_model.proto of
// https://github.com/google/sentencepiece) says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct SentencePieceModel {
  // The numbers are those of the file.
  enum class Algorithm { kUnigram = 1, kBytePair = 2 };
  enum class PieceType {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,      // never matches text
    kUserDefined = 4,  // cut out before the algorithm runs
    kUnused = 5,       // byte pairs: merged, then taken apart again; unigram: never matches
    kByte = 6,         // "<0x0A>": never matches text, writes its byte
  };
  struct Piece {
    std::string text;  // not empty, valid UTF-8
    float score = 0;   // finite
    PieceType type = PieceType::kNormal;
  };

  std::vector<Piece> pieces;  // by id; the texts of kNormal, kUserDefined and kUnused differ
  int32_t unknown = -1;       // exactly one
  Algorithm algorithm = Algorithm::kUnigram;
  bool byte_fallback = false;  // then there is a piece for every byte, otherwise for none
  bool space_is_suffix = false;
  std::string unknown_surface = " \u2047 ";  // what the unknown piece writes
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";

  std::string charsmap;  // empty: text stays as it is
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

// The byte that a piece like "<0x0A>" spells, -1 for every other.
int BytePieceValue(std::string_view piece);

// InvalidArgument names the byte of the file or the piece: cut off, a score that is no number, two
// pieces alike, bytes without a piece. Unimplemented for the algorithms "word" and "char", for
// spaces that are not escaped, and for text that is changed again when decoded.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view file);

}  // namespace tessera
