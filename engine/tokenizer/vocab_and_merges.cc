#include "engine/tokenizer/vocab_and_merges.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"
#include "engine/tokenizer/byte_pair_vocabulary.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

struct Family {
  std::string_view tokenizer_class;
  std::string_view pattern;
  bool normal_form_c;
};

constexpr Family kFamilies[] = {
    {"GPT2Tokenizer", kGpt2Pattern, false},
    {"CodeGenTokenizer", kGpt2Pattern, false},
    {"Qwen2Tokenizer", kQwenPattern, true},
};
// What all three classes take for bos, eos or unk when no file says otherwise.
constexpr std::string_view kEndOfText = "<|endoftext|>";

absl::StatusOr<Family> FamilyOf(std::string_view tokenizer_class,
                                const std::filesystem::path& directory) {
  constexpr std::string_view kFast = "Fast";
  std::string_view name = tokenizer_class;
  if (name.size() > kFast.size() && name.substr(name.size() - kFast.size()) == kFast) {
    name.remove_suffix(kFast.size());
  }
  for (const Family& family : kFamilies) {
    if (family.tokenizer_class == name) return family;
  }
  const std::string path = (directory / "tokenizer_config.json").string();
  constexpr const char* kSupported =
      "supported with vocab.json and merges.txt are GPT2Tokenizer, CodeGenTokenizer and "
      "Qwen2Tokenizer, any class with a tokenizer.json";
  return absl::UnimplementedError(
      tokenizer_class.empty()
          ? fmt::format(
                "{}: is not there or has no tokenizer_class, which says how text is cut; {}", path,
                kSupported)
          : fmt::format("{}: tokenizer_class '{}' is not supported; {}", path, tokenizer_class,
                        kSupported));
}

// One merge a line. Only the first line may be a comment: "#" is a token like any other, and "# #"
// a merge.
absl::Status ReadMerges(const std::string& file, std::string_view text,
                        BytePairVocabulary* vocabulary) {
  constexpr std::string_view kVersion = "#version";
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.substr(0, kVersion.size()) == kVersion)) continue;
    const absl::Status added = vocabulary->AddMerge(line);
    if (!added.ok()) return Annotate(added, fmt::format("{}: line {}", file, number));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerParts> ReadVocabAndMerges(const std::filesystem::path& directory,
                                                  TokenizerConfig config) {
  ASSIGN_OR_RETURN(const Family family, FamilyOf(config.tokenizer_class, directory));
  const std::filesystem::path vocab_path = directory / "vocab.json";
  const std::filesystem::path merges_path = directory / "merges.txt";
  ASSIGN_OR_RETURN(const nlohmann::json vocab, ReadJsonFile(vocab_path));
  ASSIGN_OR_RETURN(const std::string merges, ReadTextFile(merges_path));

  TokenizerParts parts;
  auto vocabulary = BytePairVocabulary::Create(vocab, &parts.tokens);
  if (!vocabulary.ok()) return Annotate(vocabulary.status(), vocab_path.string());
  RETURN_IF_ERROR(ReadMerges(merges_path.string(), merges, &*vocabulary));
  ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::Create({std::string(family.pattern)}));
  parts.segmenter = std::move(*vocabulary)
                        .MakeSegmenter(std::move(splitter), /*ignore_merges=*/false, parts.tokens);
  if (family.normal_form_c) parts.normalizer.AddNfc();
  if (!config.says_eos && parts.tokens.Find(kEndOfText).has_value()) config.eos = kEndOfText;
  const absl::Status added = AddTokens(config.added, config, AddedTokenRules::kSlow, &parts);
  if (!added.ok()) return Annotate(added, directory.string());
  parts.adds_bos = config.add_bos.value_or(false) && parts.bos.has_value();
  return parts;
}

}  // namespace tessera
