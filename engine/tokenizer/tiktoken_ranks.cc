#include "engine/tokenizer/tiktoken_ranks.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

using Ranks = absl::flat_hash_map<std::string, int32_t>;

// Merges are looked for at every place in a token. Real ones have up to 128 bytes.
constexpr size_t kMaxTokenBytes = 1024;

constexpr std::string_view kEndOfText = "<|endoftext|>";

void AppendNumbered(std::string_view before, int count, std::string_view after,
                    std::vector<std::string>* names) {
  for (int i = 0; i < count; ++i) names->push_back(fmt::format("{}{}{}", before, i, after));
}

// Control tokens in the order of their ids (tokenization_qwen.py).
std::vector<std::string> QwenControlTokens() {
  std::vector<std::string> names = {std::string(kEndOfText), "<|im_start|>", "<|im_end|>"};
  AppendNumbered("<|extra_", 205, "|>", &names);
  return names;
}

// The same for StableLM 2 (tokenization_arcade100k.py).
std::vector<std::string> ArcadeControlTokens() {
  std::vector<std::string> names = {
      std::string(kEndOfText), "<|fim_prefix|>",   "<|fim_middle|>",  "<|fim_suffix|>",
      "<|fim_pad|>",           "<gh_stars>",       "<filename>",      "<issue_start>",
      "<issue_comment>",       "<issue_closed>",   "<jupyter_start>", "<jupyter_text>",
      "<jupyter_code>",        "<jupyter_output>", "<empty_output>",  "<commit_before>",
      "<commit_msg>",          "<commit_after>",   "<reponame>",      "<|endofprompt|>",
      "<|im_start|>",          "<|im_end|>",       "<|pause|>"};
  AppendNumbered("<|reg", 8, "|>", &names);
  names.emplace_back("<|extra0|>");
  return names;
}

struct Family {
  std::vector<std::string> control_tokens;
  int32_t gap;         // ids between the last rank and the first control token
  bool pads_with_eos;  // whatever the configuration says
};

absl::StatusOr<Family> FamilyOf(const std::string& tokenizer_class) {
  if (tokenizer_class == "QWenTokenizer") return Family{QwenControlTokens(), 0, false};
  if (tokenizer_class == "Arcade100kTokenizer") return Family{ArcadeControlTokens(), 1, true};
  return absl::UnimplementedError(fmt::format(
      "tokenizer_class '{}' is not supported with tiktoken ranks; supported: QWenTokenizer, "
      "Arcade100kTokenizer",
      tokenizer_class));
}

absl::Status ReadLine(std::string_view line, TokenTable* tokens, Ranks* ranks) {
  const size_t space = line.find(' ');
  const std::string_view number = space == std::string_view::npos ? "" : line.substr(space + 1);
  int32_t rank = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
  std::string bytes;
  if (error != std::errc() || end != number.data() + number.size() || rank < 0 ||
      rank > kMaxTokenId || !absl::Base64Unescape(absl::string_view(line.data(), space), &bytes) ||
      bytes.empty()) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not base64, a space and a rank", line));
  }
  if (bytes.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(fmt::format("{} bytes are more than the {} a token may have",
                                                  bytes.size(), kMaxTokenBytes));
  }
  RETURN_IF_ERROR(tokens->AddOrdinary(rank, bytes));
  if (ranks->emplace(std::move(bytes), rank).second) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("'{}': the token stands in an earlier line", line));
}

absl::Status ReadRanks(std::string_view text, TokenTable* tokens, Ranks* ranks) {
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const absl::Status read = ReadLine(line, tokens, ranks);
    if (!read.ok()) return Annotate(read, fmt::format("line {}", number));
  }
  return absl::OkStatus();
}

// Two neighbours merge if their bytes joined are a token, whose rank tells when: so every way to
// cut a token in two is a merge.
MergeTable MakeMerges(const Ranks& ranks) {
  MergeTable merges;
  for (const auto& [bytes, rank] : ranks) {
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = ranks.find(absl::string_view(bytes).substr(0, cut));
      const auto right = ranks.find(absl::string_view(bytes).substr(cut));
      if (left != ranks.end() && right != ranks.end()) {
        merges.AddAtRank(static_cast<uint32_t>(rank), left->second, right->second, rank);
      }
    }
  }
  return merges;
}

absl::StatusOr<std::unique_ptr<Segmenter>> MakeSegmenter(Ranks ranks) {
  std::array<int32_t, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ranks.find(std::string(1, static_cast<char>(byte)));
    if (found == ranks.end()) {
      return absl::InvalidArgumentError(fmt::format("no token stands for byte 0x{:02X}", byte));
    }
    byte_ids[byte] = found->second;
  }
  ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::Create({std::string(kQwenPattern)}));
  MergeTable merges = MakeMerges(ranks);
  return std::make_unique<BytePairSegmenter>(std::move(splitter), byte_ids, std::move(merges),
                                             std::move(ranks));
}

absl::StatusOr<TokenizerParts> ReadParts(std::string_view text, TokenizerConfig config) {
  ASSIGN_OR_RETURN(const Family family, FamilyOf(config.tokenizer_class));
  TokenizerParts parts;
  Ranks ranks;
  RETURN_IF_ERROR(ReadRanks(text, &parts.tokens, &ranks));
  ASSIGN_OR_RETURN(parts.segmenter, MakeSegmenter(std::move(ranks)));
  parts.normalizer.AddNfc();
  std::vector<AddedTokenEntry> added = config.added;
  int32_t id = parts.tokens.size() + family.gap;
  for (const std::string& name : family.control_tokens) {
    added.push_back({name, id++, /*special=*/true, /*normalized=*/false});
  }
  if (!config.says_eos) config.eos = kEndOfText;
  RETURN_IF_ERROR(AddTokens(added, config, AddedTokenRules::kRanks, &parts));
  if (family.pads_with_eos) parts.pad = parts.eos;
  return parts;
}

}  // namespace

absl::StatusOr<TokenizerParts> ReadTiktokenRanks(const std::filesystem::path& path,
                                                 TokenizerConfig config) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  auto parts = ReadParts(text, std::move(config));
  if (!parts.ok()) return Annotate(parts.status(), path.string());
  return parts;
}

}  // namespace tessera
