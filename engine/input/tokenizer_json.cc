#include "engine/input/tokenizer_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/input/byte_pair_vocabulary.h"
#include "engine/input/tokenizer_files.h"
#include "engine/input/pretokenizer.h"
#include "engine/status.h"

namespace tessera {
namespace {

using nlohmann::json;

// The member, or null where there is none or `object` is no object.
const json& Get(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string TypeOf(const json& stage) {
  const json& type = Get(stage, "type");
  return type.is_string() ? type.get<std::string>() : Excerpt(stage);
}

bool IsTrue(const json& value) { return value.is_boolean() && value.get<bool>(); }

bool IsNonEmptyString(const json& value) {
  return value.is_string() && !value.get<std::string>().empty();
}

// A stage is null, one stage, or a Sequence of stages under `list`.
std::vector<json> Flatten(const json& stage, const char* list) {
  if (stage.is_null()) return {};
  if (TypeOf(stage) != "Sequence" || !Get(stage, list).is_array()) return {stage};
  return {Get(stage, list).begin(), Get(stage, list).end()};
}

absl::Status ReadNormalizer(const json& normalizer, TextNormalizer* steps) {
  for (const json& stage : Flatten(normalizer, "normalizers")) {
    if (TypeOf(stage) != "NFC") {
      return absl::UnimplementedError(
          fmt::format("normalizer {} is not supported; supported: NFC", TypeOf(stage)));
    }
    steps->AddNfc();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSplit(const json& stage) {
  const json& pattern = Get(Get(stage, "pattern"), "Regex");
  if (!pattern.is_string() || Get(stage, "behavior") != "Isolated" ||
      IsTrue(Get(stage, "invert"))) {
    return absl::UnimplementedError(fmt::format(
        "pre_tokenizer {}: only a Regex with behavior Isolated is supported", Excerpt(stage)));
  }
  return pattern.get<std::string>();
}

absl::StatusOr<PreTokenizer> ReadPreTokenizer(const json& pre_tokenizer) {
  std::vector<std::string> patterns;
  bool spells_bytes = false;
  for (const json& stage : Flatten(pre_tokenizer, "pretokenizers")) {
    if (TypeOf(stage) == "Split" && !spells_bytes) {
      ASSIGN_OR_RETURN(std::string pattern, ReadSplit(stage));
      patterns.push_back(std::move(pattern));
    } else if (TypeOf(stage) == "ByteLevel" && !spells_bytes &&
               !IsTrue(Get(stage, "add_prefix_space"))) {
      spells_bytes = true;
      const json& use_regex = Get(stage, "use_regex");
      if (use_regex.is_null() || IsTrue(use_regex)) patterns.emplace_back(kGpt2Pattern);
    } else {
      return absl::UnimplementedError(
          fmt::format("pre_tokenizer {} is not supported; supported: Split, then ByteLevel without "
                      "add_prefix_space",
                      Excerpt(stage)));
    }
  }
  if (spells_bytes) return PreTokenizer::Create(patterns);
  return absl::UnimplementedError("pre_tokenizer without ByteLevel is not supported");
}

absl::Status CheckDecoder(const json& decoder) {
  for (const json& stage : Flatten(decoder, "decoders")) {
    if (TypeOf(stage) != "ByteLevel") {
      return absl::UnimplementedError(
          fmt::format("decoder {} is not supported; supported: ByteLevel", TypeOf(stage)));
    }
  }
  return absl::OkStatus();
}

// Whether texts begin with `bos`. A template that puts anything else around a text is
// Unimplemented.
absl::StatusOr<bool> ReadPostProcessor(const json& post_processor,
                                       const std::optional<std::string>& bos) {
  bool adds_bos = false;
  for (const json& stage : Flatten(post_processor, "processors")) {
    if (TypeOf(stage) == "ByteLevel") continue;
    const json& single = Get(stage, "single");
    bool understood = TypeOf(stage) == "TemplateProcessing" && single.is_array() &&
                      !single.empty() && single.size() <= 2 &&
                      Get(single.back(), "Sequence").is_object();
    if (understood && single.size() == 2) {
      understood = bos.has_value() && Get(Get(single.front(), "SpecialToken"), "id") == *bos;
      adds_bos = understood;
    }
    if (!understood) {
      return absl::UnimplementedError(
          fmt::format("post_processor {} is not supported; supported: ByteLevel, a template of "
                      "bos_token and the text",
                      Excerpt(stage)));
    }
  }
  return adds_bos;
}

absl::Status CheckModel(const json& model) {
  if (TypeOf(model) != "BPE") {
    return absl::UnimplementedError(
        fmt::format("model {} is not supported; supported: BPE", TypeOf(model)));
  }
  if (IsTrue(Get(model, "byte_fallback"))) {
    return absl::UnimplementedError(
        "model with byte_fallback (SentencePiece) is not supported yet");
  }
  for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (IsNonEmptyString(Get(model, option))) {
      return absl::UnimplementedError(fmt::format("model with {} is not supported", option));
    }
  }
  if (!Get(model, "merges").is_array())
    return absl::InvalidArgumentError("model.merges must be an array");
  return absl::OkStatus();
}

// Merges are "a b" up to tokenizers 0.19, ["a", "b"] from 0.20 on.
absl::Status ReadMerges(const json& merges, BytePairVocabulary* vocabulary) {
  for (size_t i = 0; i < merges.size(); ++i) {
    const json& merge = merges[i];
    absl::Status added = absl::InvalidArgumentError(Excerpt(merge) + " is not a pair of tokens");
    if (merge.is_string()) {
      added = vocabulary->AddMerge(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      added = vocabulary->AddMerge(merge[0].get_ref<const std::string&>(),
                                   merge[1].get_ref<const std::string&>());
    }
    if (!added.ok()) return Annotate(added, fmt::format("model.merges[{}]", i));
  }
  return absl::OkStatus();
}

// The file's own, then what tokenizer_config.json has beyond them.
absl::StatusOr<std::vector<AddedTokenEntry>> ReadAddedTokens(const json& list,
                                                             const TokenizerConfig& config) {
  if (!list.is_array() && !list.is_null())
    return absl::InvalidArgumentError("added_tokens must be an array");
  std::vector<AddedTokenEntry> added;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string what = fmt::format("added_tokens[{}]", i);
    ASSIGN_OR_RETURN(AddedTokenEntry entry, ParseAddedToken(list[i], what));
    ASSIGN_OR_RETURN(entry.id, TokenIdOf(Get(list[i], "id"), what));
    added.push_back(std::move(entry));
  }
  added.insert(added.end(), config.added.begin(), config.added.end());
  return added;
}

absl::StatusOr<TokenizerParts> ReadParts(const json& file, const TokenizerConfig& config) {
  const json& model = Get(file, "model");
  RETURN_IF_ERROR(CheckModel(model));
  TokenizerParts parts;
  RETURN_IF_ERROR(ReadNormalizer(Get(file, "normalizer"), &parts.normalizer));
  ASSIGN_OR_RETURN(PreTokenizer splitter, ReadPreTokenizer(Get(file, "pre_tokenizer")));
  RETURN_IF_ERROR(CheckDecoder(Get(file, "decoder")));
  auto vocabulary = BytePairVocabulary::Create(Get(model, "vocab"), &parts.tokens);
  if (!vocabulary.ok()) return Annotate(vocabulary.status(), "model.vocab");
  RETURN_IF_ERROR(ReadMerges(Get(model, "merges"), &*vocabulary));
  ASSIGN_OR_RETURN(const auto added, ReadAddedTokens(Get(file, "added_tokens"), config));
  RETURN_IF_ERROR(AddTokens(added, config, AddedTokenRules::kFast, &parts));
  parts.segmenter =
      std::move(*vocabulary)
          .MakeSegmenter(std::move(splitter), IsTrue(Get(model, "ignore_merges")), parts.tokens);
  ASSIGN_OR_RETURN(parts.adds_bos, ReadPostProcessor(Get(file, "post_processor"), config.bos));
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
