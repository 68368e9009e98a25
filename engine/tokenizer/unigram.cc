#include "engine/tokenizer/unigram.h"

#include <algorithm>
#include <utility>

#include "engine/base/utf8.h"

namespace tessera {

struct Unigram::Step {
  double score = 0;    // of the whole way
  int32_t begin = -1;  // of the piece; -1: no way leads here
  int32_t piece = -1;  // -1: an unknown character
};

Unigram::Unigram(const std::vector<Piece>& pieces, double unknown_score, Precision precision,
                 UnknownCharacters unknown)
    : unknown_score_(unknown_score), precision_(precision), unknown_(unknown) {
  ByteTrie::Keys keys;
  keys.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    keys.emplace_back(piece.text, static_cast<int32_t>(ids_.size()));
    ids_.push_back(piece.id);
    scores_.push_back(piece.score);
  }
  trie_ = ByteTrie(std::move(keys));
}

std::vector<Unigram::Step> Unigram::FindBestSteps(std::string_view text) const {
  std::vector<Step> steps(text.size() + 1);
  for (size_t begin = 0; begin < text.size();) {
    const double before = steps[begin].score;
    const auto offer = [&](size_t end, double score, int32_t piece) {
      Step& step = steps[end];
      const double sum = before + score;
      if (step.begin >= 0 && !(sum > step.score)) return;
      step = {precision_ == Precision::kSingle ? static_cast<float>(sum) : sum,
              static_cast<int32_t>(begin), piece};
    };
    const size_t character = NextUtf8Part(text.substr(begin)).length;
    bool whole_character = false;
    uint32_t node = ByteTrie::kRoot;
    for (size_t end = begin; end < text.size();) {
      node = trie_.Child(node, text[end++]);
      if (node == ByteTrie::kNoNode) break;
      const int32_t piece = trie_.Value(node);
      if (piece == ByteTrie::kNoValue) continue;
      offer(end, scores_[static_cast<size_t>(piece)], piece);
      whole_character = whole_character || end == begin + character;
    }
    if (!whole_character) offer(begin + character, unknown_score_, -1);
    begin += character;
  }
  return steps;
}

void Unigram::Append(std::string_view text, std::vector<int32_t>* ids) const {
  std::vector<Step> steps = FindBestSteps(text);
  std::vector<size_t> ends;  // of the pieces, the last one first
  for (size_t end = text.size(); end > 0; end = static_cast<size_t>(steps[end].begin)) {
    ends.push_back(end);
  }
  TokenWriter writer(unknown_, ids);
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const Step& step = steps[*end];
    if (step.piece >= 0) {
      writer.Add(ids_[static_cast<size_t>(step.piece)]);
    } else {
      const auto begin = static_cast<size_t>(step.begin);
      writer.AddUnknown(text.substr(begin, *end - begin));
    }
  }
}

}  // namespace tessera
