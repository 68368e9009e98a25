#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "engine/base/failed_download.h"
#include "engine/base/status.h"
#include "engine/tokenizer/piece_model.h"
#include "engine/tokenizer/sentencepiece_model.h"
#include "engine/tokenizer/sentencepiece_normalizer.h"
#include "engine/tokenizer/sentencepiece_vocabulary.h"
#include "engine/tokenizer/space_symbol.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

using PieceType = SentencePieceModel::PieceType;
using Ids = std::vector<int32_t>;

class SentencePieceSegmenter : public Segmenter {
 public:
  SentencePieceSegmenter(SentencePieceNormalizer normalizer, std::unique_ptr<PieceModel> pieces)
      : normalizer_(std::move(normalizer)), pieces_(std::move(pieces)) {}

  void Segment(const TextPart& part, Ids* ids) const override {
    pieces_->Append(normalizer_.Normalize(part.text), ids);
  }

 private:
  SentencePieceNormalizer normalizer_;
  std::unique_ptr<PieceModel> pieces_;
};

// LlamaTokenizer with legacy = false: SentencePiece without its dummy prefix, and where a part
// begins with a space, behind the unknown token's name, whose tokens are then taken away, so that
// SentencePiece does not see the space at the beginning.
class ShieldedSegmenter : public Segmenter {
 public:
  ShieldedSegmenter(std::unique_ptr<Segmenter> segmenter, std::string shield)
      : segmenter_(std::move(segmenter)), shield_(std::move(shield)) {
    Ids ids;
    segmenter_->Segment({shield_}, &ids);
    shield_tokens_ = ids.size();
  }

  void Segment(const TextPart& part, Ids* ids) const override {
    const auto begins_with = [&](std::string_view start) {
      return part.text.substr(0, start.size()) == start;
    };
    if (!begins_with(kSpaceSymbol) && !begins_with(" ")) return segmenter_->Segment(part, ids);
    Ids all;
    segmenter_->Segment({shield_ + std::string(part.text)}, &all);
    const size_t kept_from = all.size() >= shield_tokens_ ? shield_tokens_ : 0;
    ids->insert(ids->end(), all.begin() + static_cast<std::ptrdiff_t>(kept_from), all.end());
  }

 private:
  std::unique_ptr<Segmenter> segmenter_;
  std::string shield_;
  size_t shield_tokens_ = 0;
};

// `named`: contents of added tokens, which write their names.
absl::Status AddPieces(const SentencePieceModel& model,
                       const absl::flat_hash_set<std::string>& named, TokenTable* tokens) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model.pieces[i];
    std::string text = piece.text;
    auto kind = TokenKind::kText;
    switch (piece.type) {
      case PieceType::kByte:
        text = std::string(1, static_cast<char>(BytePieceValue(piece.text)));
        kind = TokenKind::kBytes;
        break;
      case PieceType::kControl:
        kind = TokenKind::kMark;
        break;
      case PieceType::kUnknown:
        if (!named.contains(piece.text)) text = model.unknown_surface;
        kind = TokenKind::kLiteral;
        break;
      default:
        if (text.front() == ' ') kind = TokenKind::kLiteral;  // a space that is no U+2581
        text = UnescapeSpaces(piece.text);
    }
    RETURN_IF_ERROR(tokens->AddOrdinary(static_cast<int32_t>(i), std::move(text), kind));
  }
  return absl::OkStatus();
}

absl::StatusOr<SentencePieceNormalizer> MakeNormalizer(const SentencePieceModel& model) {
  SentencePieceNormalizer normalizer;
  auto charsmap = Charsmap::Parse(model.charsmap);
  if (!charsmap.ok()) {
    return Annotate(charsmap.status(), "normalizer_spec.precompiled_charsmap");
  }
  normalizer.charsmap = *std::move(charsmap);
  normalizer.user_defined = UserDefinedPieces(model);
  normalizer.add_dummy_prefix = model.add_dummy_prefix;
  normalizer.remove_extra_whitespaces = model.remove_extra_whitespaces;
  normalizer.space_is_suffix = model.space_is_suffix;
  return normalizer;
}

TokenJoining SentencePieceJoining(const SentencePieceModel& model) {
  TokenJoining joining;
  joining.broken_bytes = BrokenBytes::kPerByte;
  if (model.remove_extra_whitespaces) {
    joining.run = TokenJoining::Leading::kAllLost;
  } else if (model.add_dummy_prefix) {
    joining.run = TokenJoining::Leading::kOneLost;
  }
  return joining;
}

// SentencePiece alone: no added tokens, control pieces in text are text.
absl::Status ReadAsSentencePiece(const SentencePieceModel& model, TokenizerParts* parts) {
  RETURN_IF_ERROR(AddPieces(model, {}, &parts->tokens));
  ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer, MakeNormalizer(model));
  parts->segmenter =
      std::make_unique<SentencePieceSegmenter>(std::move(normalizer), MakePieceModel(model));
  parts->joining = SentencePieceJoining(model);
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type != PieceType::kControl) continue;
    const auto id = static_cast<int32_t>(i);
    if (model.pieces[i].text == model.bos) parts->bos = id;
    if (model.pieces[i].text == model.eos) parts->eos = id;
    if (model.pieces[i].text == model.pad) parts->pad = id;
  }
  parts->unk = model.unknown;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Segmenter>> MakeLlamaSegmenter(SentencePieceModel model,
                                                              const TokenizerConfig& config) {
  const bool legacy = config.legacy.value_or(true);
  if (!legacy) model.add_dummy_prefix = false;
  ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer, MakeNormalizer(model));
  std::unique_ptr<Segmenter> segmenter =
      std::make_unique<SentencePieceSegmenter>(std::move(normalizer), MakePieceModel(model));
  if (legacy) return segmenter;
  return std::make_unique<ShieldedSegmenter>(std::move(segmenter), config.unk.value_or("<unk>"));
}

absl::Status ReadAsSlowLlama(const SentencePieceModel& model, const TokenizerConfig& config,
                             TokenizerParts* parts) {
  ASSIGN_OR_RETURN(parts->segmenter, MakeLlamaSegmenter(model, config));
  parts->joining = SentencePieceJoining(model);
  parts->joining.added_tokens_end_runs = true;
  if (config.add_prefix_space.value_or(true)) {
    parts->joining.first_token = TokenJoining::Leading::kOneLost;
  }
  if (config.legacy.value_or(true)) return absl::OkStatus();
  if (!model.remove_extra_whitespaces) parts->joining.run = TokenJoining::Leading::kKept;
  parts->normalizer.AddReplace(std::string(kSpaceSymbol), " ");
  if (!config.add_prefix_space.value_or(true)) return absl::OkStatus();
  parts->normalizer.AddPrepend(std::string(kSpaceSymbol));
  parts->lone_space = PieceId(model, kSpaceSymbol);
  return absl::OkStatus();
}

// The conversion forgets the file's normalizer, and that user-defined pieces are cut out first.
void ReadAsFastLlama(SentencePieceModel model, TokenizerParts* parts) {
  for (SentencePieceModel::Piece& piece : model.pieces) {
    if (piece.type == PieceType::kUserDefined) piece.type = PieceType::kNormal;
  }
  SentencePieceNormalizer none;
  none.add_dummy_prefix = none.remove_extra_whitespaces = false;
  parts->segmenter = std::make_unique<SentencePieceSegmenter>(none, MakePieceModel(model));
  parts->normalizer.AddPrepend(std::string(kSpaceSymbol));
  parts->normalizer.AddReplace(" ", std::string(kSpaceSymbol));
  // No ids depend on it, and ByteFallback would lose the good characters beside a broken byte.
  parts->joining.broken_bytes = BrokenBytes::kPerByte;
  parts->joining.stripped_spaces = 1;
}

absl::Status ReadAsLlama(const SentencePieceModel& model, TokenizerConfig config, bool fast,
                         TokenizerParts* parts) {
  absl::flat_hash_set<std::string> named;
  for (const AddedTokenEntry& entry : config.added) named.insert(entry.content);
  for (const auto* role : {&config.bos, &config.eos, &config.unk, &config.pad}) {
    if (role->has_value()) named.insert(**role);
  }
  RETURN_IF_ERROR(AddPieces(model, named, &parts->tokens));
  if (fast) {
    ReadAsFastLlama(model, parts);
  } else {
    RETURN_IF_ERROR(ReadAsSlowLlama(model, config, parts));
  }
  RETURN_IF_ERROR(AddTokens(config.added, config,
                            fast ? AddedTokenRules::kFast : AddedTokenRules::kSlow, parts));
  parts->adds_bos = config.add_bos.value_or(true) && parts->bos.has_value();
  parts->adds_eos = config.add_eos.value_or(false) && parts->eos.has_value();
  return absl::OkStatus();
}

absl::StatusOr<TokenizerParts> ReadParts(std::string_view file, TokenizerConfig config, bool fast) {
  ASSIGN_OR_RETURN(const SentencePieceModel model, ParseSentencePieceModel(file));
  TokenizerParts parts;
  const std::string& name = config.tokenizer_class;
  if (name.empty()) {
    RETURN_IF_ERROR(ReadAsSentencePiece(model, &parts));
    return parts;
  }
  if (!config.is_llama()) {
    return absl::UnimplementedError(
        fmt::format("tokenizer_class '{}' is not supported with a SentencePiece file; supported: "
                    "LlamaTokenizer",
                    name));
  }
  RETURN_IF_ERROR(ReadAsLlama(model, std::move(config), fast, &parts));
  return parts;
}

}  // namespace

absl::StatusOr<TokenizerParts> ReadSentencePieceTokenizer(const std::filesystem::path& path,
                                                          TokenizerConfig config, bool fast) {
  ASSIGN_OR_RETURN(const std::string file, ReadTextFile(path));
  auto parts = ReadParts(file, std::move(config), fast);
  if (!parts.ok()) return RefusedFile(parts.status(), path, file);
  return parts;
}

}  // namespace tessera
