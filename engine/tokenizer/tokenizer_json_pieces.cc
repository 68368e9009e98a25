#include "engine/tokenizer/tokenizer_json_pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/character_pair.h"
#include "engine/tokenizer/json_merges.h"
#include "engine/tokenizer/json_stage.h"
#include "engine/tokenizer/sentencepiece_model.h"
#include "engine/tokenizer/space_symbol.h"
#include "engine/tokenizer/tokenizer_files.h"
#include "engine/tokenizer/unigram.h"

namespace tessera {
namespace {

using nlohmann::json;
// By the spelling of the file; views into its JSON.
using Ids = absl::flat_hash_map<absl::string_view, int32_t>;

bool IsUnigram(const json& model) { return TypeOf(model) == "Unigram"; }

// BPE: spelling → id. Unigram: a list of [spelling, score], whose places are the ids.
absl::StatusOr<Ids> ReadVocabulary(const json& model) {
  const json& vocab = Member(model, "vocab");
  if (IsUnigram(model) ? !vocab.is_array() : !vocab.is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("model.vocab must be an {}", IsUnigram(model) ? "array" : "object"));
  }
  Ids ids;
  const auto add = [&](const std::string& token, int32_t id) -> absl::Status {
    if (token.empty()) return absl::InvalidArgumentError("model.vocab has an empty token");
    if (ids.emplace(token, id).second) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("model.vocab has '{}' twice", token));
  };
  if (vocab.is_object()) {
    for (const auto& [token, value] : vocab.get_ref<const json::object_t&>()) {
      ASSIGN_OR_RETURN(const int32_t id, TokenIdOf(value, fmt::format("model.vocab: '{}'", token)));
      RETURN_IF_ERROR(add(token, id));
    }
    return ids;
  }
  for (size_t i = 0; i < vocab.size(); ++i) {
    const json& entry = vocab[i];
    const bool is_pair = entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
                         entry[1].is_number() && std::isfinite(entry[1].get<double>());
    if (!is_pair || i > static_cast<size_t>(kMaxTokenId)) {
      return absl::InvalidArgumentError(
          fmt::format("model.vocab[{}]: {} is not a token and its score", i, Excerpt(entry)));
    }
    RETURN_IF_ERROR(add(entry[0].get_ref<const std::string&>(), static_cast<int32_t>(i)));
  }
  return ids;
}

absl::StatusOr<int32_t> IdOf(const Ids& ids, std::string_view token) {
  const auto found = ids.find(absl::string_view(token.data(), token.size()));
  if (found != ids.end()) return found->second;
  return absl::InvalidArgumentError(fmt::format("'{}' is no token of the vocabulary", token));
}

std::string_view View(absl::string_view text) { return {text.data(), text.size()}; }

void ReadByteFallback(const json& model, const Ids& ids, UnknownCharacters* unknown) {
  if (!IsTrue(Member(model, "byte_fallback"))) return;
  unknown->byte_ids.emplace();
  unknown->byte_ids->fill(-1);
  for (const auto& [token, id] : ids) {
    const int byte = BytePieceValue(View(token));
    if (byte >= 0) (*unknown->byte_ids)[static_cast<size_t>(byte)] = id;
  }
}

absl::Status CheckPairOptions(const json& model) {
  const json& dropout = Member(model, "dropout");
  if (!dropout.is_null() && dropout != 0) {
    return absl::UnimplementedError("model with dropout is not supported");
  }
  if (Member(model, "merges").is_array()) return absl::OkStatus();
  return absl::InvalidArgumentError("model.merges must be an array");
}

absl::Status AddJsonMerges(const json& merges, const Ids& ids, CharacterVocabulary* vocabulary) {
  uint32_t rank = 0;
  return ForEachMerge(merges, [&](std::string_view left, std::string_view right) -> absl::Status {
    ASSIGN_OR_RETURN(const int32_t left_id, IdOf(ids, left));
    ASSIGN_OR_RETURN(const int32_t right_id, IdOf(ids, right));
    ASSIGN_OR_RETURN(const int32_t merged, IdOf(ids, std::string(left).append(right)));
    vocabulary->AddMerge({left, left_id}, {right, right_id}, {rank++, merged});
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<PieceModel>> MakePairs(const json& model, const Ids& ids,
                                                      const TokenTable& tokens) {
  RETURN_IF_ERROR(CheckPairOptions(model));
  CharacterVocabulary vocabulary;
  vocabulary.tokens = tokens.size();
  ReadByteFallback(model, ids, &vocabulary.unknown);
  vocabulary.unknown.fuse = IsTrue(Member(model, "fuse_unk"));
  if (const json& unknown = Member(model, "unk_token"); unknown.is_string()) {
    auto id = IdOf(ids, unknown.get_ref<const std::string&>());
    if (!id.ok()) return Annotate(id.status(), "model.unk_token");
    vocabulary.unknown.unknown = *id;
  }
  for (const auto& [token, id] : ids) {
    if (tokens.IsControl(id)) continue;
    const Utf8Part first = NextUtf8Part(View(token));
    if (first.length == token.size()) vocabulary.characters.emplace(first.code_point, id);
    if (IsTrue(Member(model, "ignore_merges"))) {
      vocabulary.whole_texts.emplace(std::string(token), id);
    }
  }
  RETURN_IF_ERROR(AddJsonMerges(Member(model, "merges"), ids, &vocabulary));
  return std::make_unique<CharacterPairs>(std::move(vocabulary));
}

absl::StatusOr<std::unique_ptr<PieceModel>> MakeUnigram(const json& model, const Ids& ids,
                                                        const TokenTable& tokens) {
  constexpr double kUnknownPenalty = 10.0;
  const json& vocab = Member(model, "vocab");
  UnknownCharacters unknown;
  ReadByteFallback(model, ids, &unknown);
  if (const json& id = Member(model, "unk_id"); !id.is_null()) {
    ASSIGN_OR_RETURN(unknown.unknown, TokenIdOf(id, "model.unk_id"));
    if (static_cast<size_t>(unknown.unknown) >= vocab.size()) {
      return absl::InvalidArgumentError(
          fmt::format("model.unk_id: {} of {} tokens", unknown.unknown, vocab.size()));
    }
  }
  double least = std::numeric_limits<double>::infinity();
  std::vector<Unigram::Piece> pieces;
  for (size_t i = 0; i < vocab.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const double score = vocab[i][1].get<double>();
    least = std::min(least, score);
    if (tokens.IsControl(id)) continue;
    pieces.push_back({vocab[i][0].get_ref<const std::string&>(), id, score});
  }
  return std::make_unique<Unigram>(pieces, least - kUnknownPenalty, Unigram::Precision::kDouble,
                                   unknown);
}

}  // namespace

absl::Status ReadJsonPieces(const json& model, const JsonDecoder& decoder, TokenTable* tokens) {
  ASSIGN_OR_RETURN(const Ids ids, ReadVocabulary(model));
  for (const auto& [token, id] : ids) {
    const std::string_view spelling = View(token);
    const int byte = decoder.bytes ? BytePieceValue(spelling) : -1;
    const absl::Status added =
        byte >= 0 ? tokens->AddOrdinary(id, std::string(1, static_cast<char>(byte)))
                  : tokens->AddOrdinary(
                        id, decoder.spaces ? UnescapeSpaces(spelling) : std::string(spelling),
                        TokenKind::kText);
    if (!added.ok()) return Annotate(added, "model.vocab");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PieceModel>> MakeJsonPieceModel(const json& model,
                                                               const TokenTable& tokens) {
  ASSIGN_OR_RETURN(const Ids ids, ReadVocabulary(model));
  return IsUnigram(model) ? MakeUnigram(model, ids, tokens) : MakePairs(model, ids, tokens);
}

}  // namespace tessera
