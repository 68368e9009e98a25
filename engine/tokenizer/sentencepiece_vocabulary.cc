#include "engine/tokenizer/sentencepiece_vocabulary.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/character_pair.h"
#include "engine/tokenizer/unigram.h"

namespace tessera {
namespace {

using PieceType = SentencePieceModel::PieceType;

bool IsMerged(const SentencePieceModel::Piece& piece) {
  return piece.type == PieceType::kNormal || piece.type == PieceType::kUnused;
}

UnknownCharacters UnknownOf(const SentencePieceModel& model) {
  UnknownCharacters unknown;
  unknown.unknown = model.unknown;
  if (!model.byte_fallback) return unknown;
  unknown.byte_ids.emplace();
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type != PieceType::kByte) continue;
    (*unknown.byte_ids)[BytePieceValue(model.pieces[i].text)] = static_cast<int32_t>(i);
  }
  return unknown;
}

// A user-defined piece scores so high that it always wins (unigram_model.cc of SentencePiece, whose
// greatest score begins at the smallest positive number and so is that for all real vocabularies).
std::unique_ptr<PieceModel> MakeUnigram(const SentencePieceModel& model) {
  constexpr float kUnknownPenalty = 10.0f;
  constexpr double kUserDefinedPenalty = 0.1;
  float least = std::numeric_limits<float>::max();
  float greatest = std::numeric_limits<float>::min();
  for (const auto& piece : model.pieces) {
    if (piece.type != PieceType::kNormal) continue;
    least = std::min(least, piece.score);
    greatest = std::max(greatest, piece.score);
  }
  std::vector<Unigram::Piece> pieces;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& piece = model.pieces[i];
    if (piece.type != PieceType::kNormal && piece.type != PieceType::kUserDefined) continue;
    const double score =
        piece.type == PieceType::kNormal
            ? piece.score
            : static_cast<float>(piece.text.size()) * greatest - kUserDefinedPenalty;
    pieces.push_back({piece.text, static_cast<int32_t>(i), score});
  }
  return std::make_unique<Unigram>(pieces, least - kUnknownPenalty, Unigram::Precision::kSingle,
                                   UnknownOf(model));
}

// Turns pieces with scores into merges: two neighbours merge where their texts joined are a piece,
// the piece with the highest score first.
class MergesOfPieces {
 public:
  explicit MergesOfPieces(const SentencePieceModel& model) : model_(model) {
    AddSymbols();
    AddMerges();
    AddUnused();
    vocabulary_.tokens = static_cast<int32_t>(model.pieces.size());
    vocabulary_.user_defined = UserDefinedPieces(model);
    vocabulary_.unknown = UnknownOf(model);
  }

  CharacterVocabulary Take() && { return std::move(vocabulary_); }

 private:
  using Part = CharacterVocabulary::Part;

  void AddSymbols();
  void AddMerges();
  void AddMergesInto(int32_t piece, uint32_t rank);
  void AddUnused();
  std::vector<Part> MergeBelow(std::string_view text, int32_t piece) const;
  std::optional<int32_t> SymbolOf(std::string_view text) const;

  const SentencePieceModel& model_;
  CharacterVocabulary vocabulary_;
  absl::flat_hash_map<absl::string_view, int32_t> symbols_;  // of pieces and of single characters
};

std::optional<int32_t> MergesOfPieces::SymbolOf(std::string_view text) const {
  const auto found = symbols_.find(absl::string_view(text.data(), text.size()));
  if (found == symbols_.end()) return {};
  return found->second;
}

// A character of a piece need not be a piece itself: it gets a number beyond them.
void MergesOfPieces::AddSymbols() {
  auto next = static_cast<int32_t>(model_.pieces.size());
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    const auto& piece = model_.pieces[i];
    if (IsMerged(piece)) symbols_.emplace(piece.text, static_cast<int32_t>(i));
  }
  for (const auto& piece : model_.pieces) {
    if (!IsMerged(piece)) continue;
    for (std::string_view rest = piece.text; !rest.empty();) {
      const Utf8Part character = NextUtf8Part(rest);
      const auto [symbol, is_new] =
          symbols_.try_emplace(absl::string_view(rest.data(), character.length), next);
      if (is_new) ++next;
      vocabulary_.characters.try_emplace(character.code_point, symbol->second);
      rest.remove_prefix(character.length);
    }
  }
}

void MergesOfPieces::AddMerges() {
  std::vector<int32_t> by_score;
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    if (IsMerged(model_.pieces[i])) by_score.push_back(static_cast<int32_t>(i));
  }
  const auto score = [&](int32_t piece) { return model_.pieces[static_cast<size_t>(piece)].score; };
  std::stable_sort(by_score.begin(), by_score.end(),
                   [&](int32_t a, int32_t b) { return score(a) > score(b); });
  uint32_t rank = 0;
  for (size_t i = 0; i < by_score.size(); ++i) {
    if (i > 0 && score(by_score[i]) != score(by_score[i - 1])) ++rank;
    AddMergesInto(by_score[i], rank);
  }
}

void MergesOfPieces::AddMergesInto(int32_t piece, uint32_t rank) {
  const std::string_view text = model_.pieces[static_cast<size_t>(piece)].text;
  for (size_t cut = NextUtf8Part(text).length; cut < text.size();
       cut += NextUtf8Part(text.substr(cut)).length) {
    const auto left = SymbolOf(text.substr(0, cut));
    const auto right = SymbolOf(text.substr(cut));
    if (!left.has_value() || !right.has_value()) continue;
    vocabulary_.AddMerge({text.substr(0, cut), *left}, {text.substr(cut), *right}, {rank, piece});
  }
}

// What the text of `piece` merges to when the piece itself is not reached.
std::vector<CharacterVocabulary::Part> MergesOfPieces::MergeBelow(std::string_view text,
                                                                  int32_t piece) const {
  std::vector<Part> parts;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Part character = NextUtf8Part(rest);
    parts.push_back({vocabulary_.characters.at(character.code_point), character.length});
    rest.remove_prefix(character.length);
  }
  while (true) {
    Merge best;
    size_t place = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const Merge merge = vocabulary_.merges.Find(parts[i].symbol, parts[i + 1].symbol);
      if (merge.merged != piece && merge.rank < best.rank) best = merge, place = i;
    }
    if (best.rank == Merge::kNoRank) return parts;
    parts[place] = {best.merged, parts[place].bytes + parts[place + 1].bytes};
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Shorter pieces first: what a piece falls apart into may be unused as well.
void MergesOfPieces::AddUnused() {
  std::vector<int32_t> unused;
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    if (model_.pieces[i].type == PieceType::kUnused) unused.push_back(static_cast<int32_t>(i));
  }
  const auto text = [&](int32_t piece) -> const std::string& {
    return model_.pieces[static_cast<size_t>(piece)].text;
  };
  std::sort(unused.begin(), unused.end(),
            [&](int32_t a, int32_t b) { return text(a).size() < text(b).size(); });
  for (const int32_t piece : unused) {
    const std::vector<Part> parts = MergeBelow(text(piece), piece);
    if (parts.size() == 1) continue;  // one character, which stays
    std::vector<Part> used;
    for (const Part& part : parts) {
      const auto known = vocabulary_.unused.find(part.symbol);
      if (known == vocabulary_.unused.end()) {
        used.push_back(part);
      } else {
        used.insert(used.end(), known->second.begin(), known->second.end());
      }
    }
    vocabulary_.unused.emplace(piece, std::move(used));
  }
}

}  // namespace

std::unique_ptr<PieceModel> MakePieceModel(const SentencePieceModel& model) {
  if (model.algorithm == SentencePieceModel::Algorithm::kUnigram) return MakeUnigram(model);
  return std::make_unique<CharacterPairs>(MergesOfPieces(model).Take());
}

ByteTrie UserDefinedPieces(const SentencePieceModel& model) {
  ByteTrie::Keys keys;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type != PieceType::kUserDefined) continue;
    keys.emplace_back(model.pieces[i].text, static_cast<int32_t>(i));
  }
  return ByteTrie(std::move(keys));
}

std::optional<int32_t> PieceId(const SentencePieceModel& model, std::string_view text) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].text == text) return static_cast<int32_t>(i);
  }
  return {};
}

}  // namespace tessera
