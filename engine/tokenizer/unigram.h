// Unigram language model over pieces (Kudo 2018, "Subword Regularization"): of all ways to cut a
// text into pieces, the one with the highest sum of scores, found by Viterbi's algorithm.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/byte_trie.h"
#include "engine/tokenizer/piece_model.h"

namespace tessera {

class Unigram : public PieceModel {
 public:
  struct Piece {
    std::string_view text;
    int32_t id;    // not negative
    double score;  // finite
  };
  enum class Precision {
    kSingle,  // sums rounded to float32 after each piece, as in SentencePiece
    kDouble,  // as in the tokenizers library
  };

  // `unknown_score`: of a character that no piece begins with. Texts of `pieces` differ.
  Unigram(const std::vector<Piece>& pieces, double unknown_score, Precision precision,
          UnknownCharacters unknown);

  // Linear in the text, times the longest piece that its places begin with.
  void Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  struct Step;

  // steps[i]: the last piece of the best way to the text's first i bytes.
  std::vector<Step> FindBestSteps(std::string_view text) const;

  ByteTrie trie_;  // values are places in the two lists below
  std::vector<int32_t> ids_;
  std::vector<double> scores_;
  double unknown_score_;
  Precision precision_;
  UnknownCharacters unknown_;
};

}  // namespace tessera
