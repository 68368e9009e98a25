#include "engine/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"
#include "engine/tokenizer/tiktoken_ranks.h"
#include "engine/tokenizer/tokenizer_json.h"
#include "engine/tokenizer/vocab_and_merges.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// The first by name of the files "*.tiktoken"; empty for none.
fs::path FindRanks(const fs::path& directory) {
  fs::path first;
  std::error_code ignored;  // where the directory cannot be listed, its other files tell
  for (const auto& file : fs::directory_iterator(directory, ignored)) {
    if (file.path().extension() != ".tiktoken") continue;
    if (first.empty() || file.path() < first) first = file.path();
  }
  return first;
}

absl::StatusOr<TokenizerParts> ReadParts(const fs::path& directory, TokenizerClass wanted) {
  std::vector<std::string> there;
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model"}) {
    ASSIGN_OR_RETURN(const bool found, IsThere(directory / name));
    if (found) there.push_back(name);
  }
  const auto has = [&](const char* name) {
    return std::find(there.begin(), there.end(), name) != there.end();
  };
  ASSIGN_OR_RETURN(TokenizerConfig config, ReadTokenizerConfig(directory));
  const auto read_json = [&] { return ReadTokenizerJson(directory / "tokenizer.json", config); };
  if (wanted != TokenizerClass::kSlow && has("tokenizer.json")) return read_json();
  if (has("vocab.json") && has("merges.txt"))
    return ReadVocabAndMerges(directory, std::move(config));
  if (const fs::path ranks = FindRanks(directory); !ranks.empty()) {
    return ReadTiktokenRanks(ranks, std::move(config));
  }
  if (has("tokenizer.model")) {
    return ReadSentencePieceTokenizer(directory / "tokenizer.model", std::move(config),
                                      wanted == TokenizerClass::kFast);
  }
  if (has("tokenizer.json")) return read_json();
  return absl::NotFoundError(
      fmt::format("{}: no tokenizer: neither tokenizer.json, nor vocab.json with merges.txt, nor "
                  "*.tiktoken, nor tokenizer.model",
                  directory.string()));
}

// Gives the parts of `view` between added tokens to `plain`, with whether they come first, and each
// added token's id to `ids`. Returns the place of the first of these in `ids`.
template <typename Plain>
std::optional<size_t> Cut(const AddedTokens& added, MarkedView view, std::vector<int32_t>* ids,
                          const Plain& plain) {
  std::optional<size_t> first_added;
  for (size_t done = 0; done < view.text.size();) {
    const auto match = added.Find(view, done);
    const size_t end = match.has_value() ? match->begin : view.text.size();
    if (end > done) plain(view.Slice(done, end), done == 0);
    if (!match.has_value()) break;
    if (!first_added.has_value()) first_added = ids->size();
    ids->push_back(match->id);
    done = match->end;
  }
  return first_added;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const fs::path& model_directory,
                                                           TokenizerClass tokenizer_class) {
  ASSIGN_OR_RETURN(TokenizerParts parts, ReadParts(model_directory, tokenizer_class));
  return std::make_unique<Tokenizer>(std::move(parts));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialTokens special) const {
  const std::string marks(text.size(), static_cast<char>(special));
  return Encode(MarkedView{text, marks});
}

std::vector<int32_t> Tokenizer::Encode(std::span<const TextSpan> spans) const {
  MarkedText joined;
  for (const TextSpan& span : spans) joined.Append(span.text, span.special);
  return Encode(joined.view());
}

std::vector<int32_t> Tokenizer::Encode(MarkedView view) const {
  TESSERA_CHECK_MSG(ValidateUtf8(view.text).ok(), "text to encode must be valid UTF-8");
  std::vector<int32_t> ids;
  Cut(parts_.raw_added, view, &ids,
      [&](MarkedView part, bool first) { EncodeWithoutRaw(part, first, &ids); });
  return ids;
}

void Tokenizer::EncodeWithoutRaw(MarkedView view, bool begins_text,
                                 std::vector<int32_t>* ids) const {
  const std::optional<MarkedText> normalized = parts_.normalizer.Normalize(view);
  const std::optional<size_t> first_added =
      Cut(parts_.added, normalized.has_value() ? normalized->view() : view, ids,
          [&](MarkedView part, bool first) {
            parts_.segmenter->Segment({part.text, begins_text && first}, ids);
          });
  if (parts_.lone_space.has_value() && begins_text && first_added == size_t{1} &&
      ids->front() == *parts_.lone_space && IsSpecial((*ids)[1])) {
    ids->erase(ids->begin());
  }
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  Detokenizer detokenizer(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Push(id);
  return text += detokenizer.Finish();
}

}  // namespace tessera
