#include "engine/tokenizer/tokenizer_json_stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/json_stage.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/space_symbol.h"

namespace tessera {
namespace {

using nlohmann::json;

bool IsNonEmptyString(const json& value) {
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

// Bounds of what a file may ask for. Real ones have up to three stages; a space, which becomes
// U+2581, grows by three.
constexpr size_t kMaxStages = 16;
constexpr double kMaxGrowth = 64;  // of a text, by all its replacements
constexpr size_t kMaxPrependedBytes = 64;

absl::Status CheckCount(const std::vector<json>& stages, std::string_view what) {
  if (stages.size() <= kMaxStages) return absl::OkStatus();
  return absl::UnimplementedError(
      fmt::format("{} of {} stages; at most {} are supported", what, stages.size(), kMaxStages));
}

absl::StatusOr<std::string> ReadSplit(const json& stage) {
  const json& pattern = Member(Member(stage, "pattern"), "Regex");
  if (!pattern.is_string() || Member(stage, "behavior") != "Isolated" ||
      IsTrue(Member(stage, "invert"))) {
    return absl::UnimplementedError(fmt::format(
        "pre_tokenizer {}: only a Regex with behavior Isolated is supported", Excerpt(stage)));
  }
  return pattern.get<std::string>();
}

// `prepend_scheme` came with tokenizers 0.15, `split` with 0.19; `add_prefix_space` went.
absl::StatusOr<Metaspace> ReadMetaspace(const json& stage) {
  Metaspace metaspace;
  const json& scheme = Member(stage, "prepend_scheme");
  const json& add = Member(stage, "add_prefix_space");
  const json& replacement = Member(stage, "replacement");
  if (scheme == "never" || (add.is_boolean() && !add.get<bool>())) {
    metaspace.prepend = Metaspace::Prepend::kNever;
  } else if (scheme == "first") {
    metaspace.prepend = Metaspace::Prepend::kFirst;
  } else if (!scheme.is_null() && scheme != "always") {
    return absl::UnimplementedError(
        fmt::format("Metaspace with prepend_scheme {} is not supported", Excerpt(scheme)));
  }
  if (replacement != std::string(kSpaceSymbol)) {
    return absl::UnimplementedError(
        fmt::format("Metaspace with replacement {} is not supported", Excerpt(replacement)));
  }
  const json& split = Member(stage, "split");
  metaspace.split = split.is_null() || IsTrue(split);
  return metaspace;
}

bool ReplacesSpaceSymbol(const json& stage) {
  return TypeOf(stage) == "Replace" &&
         Member(Member(stage, "pattern"), "String") == std::string(kSpaceSymbol) &&
         Member(stage, "content") == " ";
}

// Whether the stage strips spaces from the beginning only.
bool StripsLeadingSpaces(const json& stage) {
  const json& start = Member(stage, "start");
  return TypeOf(stage) == "Strip" && Member(stage, "content") == " " &&
         start.is_number_unsigned() && start.get<uint64_t>() <= 16 && Member(stage, "stop") == 0;
}

absl::StatusOr<JsonDecoder> ReadMetaspaceDecoder(const json& stage) {
  ASSIGN_OR_RETURN(const Metaspace metaspace, ReadMetaspace(stage));
  JsonDecoder decoder;
  decoder.spaces = true;
  if (metaspace.prepend != Metaspace::Prepend::kNever) {
    decoder.joining.first_token = TokenJoining::Leading::kAllLost;
  }
  return decoder;
}

}  // namespace

absl::Status ReadJsonNormalizer(const json& normalizer, TextNormalizer* steps) {
  const std::vector<json> stages = StagesOf(normalizer, "normalizers");
  RETURN_IF_ERROR(CheckCount(stages, "normalizer"));
  double growth = 1;
  for (const json& stage : stages) {
    const std::string type = TypeOf(stage);
    const json& from = Member(Member(stage, "pattern"), "String");
    const json& prefix = Member(stage, "prepend");
    if (type == "NFC") {
      steps->AddNfc();
    } else if (type == "Prepend" && prefix.is_string() &&
               prefix.get_ref<const std::string&>().size() <= kMaxPrependedBytes) {
      steps->AddPrepend(prefix.get<std::string>());
    } else if (type == "Replace" && IsNonEmptyString(from) &&
               Member(stage, "content").is_string()) {
      const std::string to = Member(stage, "content").get<std::string>();
      growth *= std::max(1.0, static_cast<double>(to.size()) /
                                  static_cast<double>(from.get_ref<const std::string&>().size()));
      steps->AddReplace(from.get<std::string>(), to);
    } else {
      return absl::UnimplementedError(fmt::format(
          "normalizer {} is not supported; supported: NFC, Prepend of at most {} bytes, Replace of "
          "a string",
          Excerpt(stage), kMaxPrependedBytes));
    }
    if (growth > kMaxGrowth) {
      return absl::UnimplementedError(fmt::format("normalizer {}: text may grow more than {} times",
                                                  Excerpt(stage), kMaxGrowth));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<JsonPreTokenizer> ReadJsonPreTokenizer(const json& pre_tokenizer) {
  JsonPreTokenizer result;
  const std::vector<json> stages = StagesOf(pre_tokenizer, "pretokenizers");
  RETURN_IF_ERROR(CheckCount(stages, "pre_tokenizer"));
  for (const json& stage : stages) {
    const std::string type = TypeOf(stage);
    const bool last = result.byte_level || result.metaspace.has_value();
    if (type == "Split" && !last) {
      ASSIGN_OR_RETURN(std::string pattern, ReadSplit(stage));
      result.patterns.push_back(std::move(pattern));
    } else if (type == "ByteLevel" && !last && !IsTrue(Member(stage, "add_prefix_space"))) {
      result.byte_level = true;
      const json& use_regex = Member(stage, "use_regex");
      if (use_regex.is_null() || IsTrue(use_regex)) result.patterns.emplace_back(kGpt2Pattern);
    } else if (type == "Metaspace" && !last && result.patterns.empty()) {
      ASSIGN_OR_RETURN(result.metaspace, ReadMetaspace(stage));
    } else {
      return absl::UnimplementedError(
          fmt::format("pre_tokenizer {} is not supported; supported: Split, then ByteLevel without "
                      "add_prefix_space; Metaspace",
                      Excerpt(stage)));
    }
  }
  if (result.byte_level || result.patterns.empty()) return result;
  return absl::UnimplementedError("pre_tokenizer Split without ByteLevel is not supported");
}

absl::StatusOr<JsonDecoder> ReadJsonDecoder(const json& decoder) {
  const std::vector<json> stages = StagesOf(decoder, "decoders");
  if (stages.size() == 1 && TypeOf(stages[0]) == "Metaspace") {
    return ReadMetaspaceDecoder(stages[0]);
  }
  if (stages.empty()) {
    return absl::UnimplementedError("no decoder: tokens joined by spaces are not supported");
  }
  JsonDecoder result;
  bool fused = false;
  for (const json& stage : stages) {
    const std::string type = TypeOf(stage);
    if (type == "ByteLevel" && stages.size() == 1) {
      result.byte_level = true;
    } else if (ReplacesSpaceSymbol(stage) && !result.bytes && !fused) {
      result.spaces = true;
    } else if (type == "ByteFallback" && !fused) {
      result.bytes = true;
      result.joining.broken_bytes = BrokenBytes::kPerRun;
    } else if (type == "Fuse") {
      fused = true;
    } else if (StripsLeadingSpaces(stage) && fused) {
      result.joining.stripped_spaces += Member(stage, "start").get<int>();
    } else {
      return absl::UnimplementedError(fmt::format(
          "decoder {} is not supported; supported: ByteLevel; Metaspace; Replace of U+2581 by a "
          "space, ByteFallback, Fuse and Strip of leading spaces, in this order",
          Excerpt(stage)));
    }
  }
  return result;
}

absl::StatusOr<JsonPostProcessor> ReadJsonPostProcessor(const json& post_processor,
                                                        const TokenizerConfig& config) {
  JsonPostProcessor result;
  for (const json& stage : StagesOf(post_processor, "processors")) {
    if (TypeOf(stage) == "ByteLevel") continue;
    const json& single = Member(stage, "single");
    bool understood = TypeOf(stage) == "TemplateProcessing" && single.is_array();
    bool after_text = false;
    for (size_t i = 0; understood && i < single.size(); ++i) {
      const json& special = Member(Member(single[i], "SpecialToken"), "id");
      if (Member(single[i], "Sequence").is_object() && !after_text) {
        after_text = true;
        continue;
      }
      const auto& role = after_text ? config.eos : config.bos;
      bool& adds = after_text ? result.adds_eos : result.adds_bos;
      understood = special.is_string() && role.has_value() && special == *role && !adds;
      adds = understood;
    }
    if (!understood || !after_text) {
      return absl::UnimplementedError(
          fmt::format("post_processor {} is not supported; supported: ByteLevel, a template of "
                      "bos_token, the text and eos_token",
                      Excerpt(stage)));
    }
  }
  return result;
}

}  // namespace tessera
