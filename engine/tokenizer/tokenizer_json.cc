#include "engine/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/tokenizer/byte_pair_vocabulary.h"
#include "engine/tokenizer/json_merges.h"
#include "engine/tokenizer/json_stage.h"
#include "engine/tokenizer/metaspace.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/tokenizer_files.h"
#include "engine/tokenizer/tokenizer_json_pieces.h"
#include "engine/tokenizer/tokenizer_json_stages.h"

namespace tessera {
namespace {

using nlohmann::json;

bool IsNonEmptyString(const json& value) {
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

absl::Status CheckModel(const json& model, const JsonPreTokenizer& pre_tokenizer,
                        const JsonDecoder& decoder) {
  const std::string type = TypeOf(model);
  if (type != "BPE" && (type != "Unigram" || pre_tokenizer.byte_level)) {
    return absl::UnimplementedError(
        fmt::format("model {} is not supported; supported: BPE, Unigram without ByteLevel", type));
  }
  if (pre_tokenizer.byte_level != decoder.byte_level) {
    return absl::UnimplementedError(
        "ByteLevel as only one of pre_tokenizer and decoder is not supported");
  }
  for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (IsNonEmptyString(Member(model, option))) {
      return absl::UnimplementedError(fmt::format("model with {} is not supported", option));
    }
  }
  if (type == "BPE" && !Member(model, "merges").is_array()) {
    return absl::InvalidArgumentError("model.merges must be an array");
  }
  return absl::OkStatus();
}

// The file's own, then what tokenizer_config.json has beyond them.
absl::StatusOr<std::vector<AddedTokenEntry>> ReadAddedTokens(const json& list,
                                                             const TokenizerConfig& config) {
  if (!list.is_array() && !list.is_null()) {
    return absl::InvalidArgumentError("added_tokens must be an array");
  }
  std::vector<AddedTokenEntry> added;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string what = fmt::format("added_tokens[{}]", i);
    ASSIGN_OR_RETURN(AddedTokenEntry entry, ParseAddedToken(list[i], what));
    ASSIGN_OR_RETURN(entry.id, TokenIdOf(Member(list[i], "id"), what));
    added.push_back(std::move(entry));
  }
  added.insert(added.end(), config.added.begin(), config.added.end());
  return added;
}

// Byte-level BPE (GPT-2, Phi, Qwen).
absl::Status ReadBytePairs(const json& model, const JsonPreTokenizer& pre_tokenizer,
                           const std::vector<AddedTokenEntry>& added, const TokenizerConfig& config,
                           TokenizerParts* parts) {
  auto vocabulary = BytePairVocabulary::Create(Member(model, "vocab"), &parts->tokens);
  if (!vocabulary.ok()) return Annotate(vocabulary.status(), "model.vocab");
  RETURN_IF_ERROR(
      ForEachMerge(Member(model, "merges"), [&](std::string_view left, std::string_view right) {
        return vocabulary->AddMerge(left, right);
      }));
  RETURN_IF_ERROR(AddTokens(added, config, AddedTokenRules::kFast, parts));
  ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::Create(pre_tokenizer.patterns));
  parts->segmenter = std::move(*vocabulary)
                         .MakeSegmenter(std::move(splitter), IsTrue(Member(model, "ignore_merges")),
                                        parts->tokens);
  return absl::OkStatus();
}

// What transformers converts SentencePiece files to.
absl::Status ReadPieces(const json& model, const JsonPreTokenizer& pre_tokenizer,
                        const JsonDecoder& decoder, const std::vector<AddedTokenEntry>& added,
                        const TokenizerConfig& config, TokenizerParts* parts) {
  RETURN_IF_ERROR(ReadJsonPieces(model, decoder, &parts->tokens));
  RETURN_IF_ERROR(AddTokens(added, config, AddedTokenRules::kFast, parts));
  ASSIGN_OR_RETURN(auto pieces, MakeJsonPieceModel(model, parts->tokens));
  parts->segmenter = std::make_unique<PieceSegmenter>(pre_tokenizer.metaspace, std::move(pieces));
  parts->joining = decoder.joining;
  return absl::OkStatus();
}

// LlamaTokenizerFast replaces the file's template by what its options say.
absl::Status ReadAroundText(const json& post_processor, const TokenizerConfig& config,
                            TokenizerParts* parts) {
  if (config.tokenizer_class == "LlamaTokenizer" ||
      config.tokenizer_class == "LlamaTokenizerFast") {
    parts->adds_bos = config.add_bos.value_or(true) && parts->bos.has_value();
    parts->adds_eos = config.add_eos.value_or(false) && parts->eos.has_value();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const JsonPostProcessor around, ReadJsonPostProcessor(post_processor, config));
  parts->adds_bos = around.adds_bos;
  parts->adds_eos = around.adds_eos;
  return absl::OkStatus();
}

absl::StatusOr<TokenizerParts> ReadParts(const json& file, const TokenizerConfig& config) {
  const json& model = Member(file, "model");
  TokenizerParts parts;
  RETURN_IF_ERROR(ReadJsonNormalizer(Member(file, "normalizer"), &parts.normalizer));
  ASSIGN_OR_RETURN(const JsonPreTokenizer pre_tokenizer,
                   ReadJsonPreTokenizer(Member(file, "pre_tokenizer")));
  ASSIGN_OR_RETURN(const JsonDecoder decoder, ReadJsonDecoder(Member(file, "decoder")));
  RETURN_IF_ERROR(CheckModel(model, pre_tokenizer, decoder));
  ASSIGN_OR_RETURN(const auto added, ReadAddedTokens(Member(file, "added_tokens"), config));
  RETURN_IF_ERROR(pre_tokenizer.byte_level
                      ? ReadBytePairs(model, pre_tokenizer, added, config, &parts)
                      : ReadPieces(model, pre_tokenizer, decoder, added, config, &parts));
  RETURN_IF_ERROR(ReadAroundText(Member(file, "post_processor"), config, &parts));
  return parts;
}

}  // namespace

absl::StatusOr<TokenizerParts> ReadTokenizerJson(const std::filesystem::path& path,
                                                 const TokenizerConfig& config) {
  ASSIGN_OR_RETURN(const json file, ReadJsonFile(path));
  auto parts = ReadParts(file, config);
  if (!parts.ok()) return Annotate(parts.status(), path.string());
  return parts;
}

}  // namespace tessera
