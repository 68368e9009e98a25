#include "engine/tokenizer/byte_pair_vocabulary.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

// As an error shows it: what should be a token may be a whole file of something else.
std::string_view Shortened(std::string_view text) { return text.substr(0, 80); }

}  // namespace

absl::StatusOr<BytePairVocabulary> BytePairVocabulary::Create(const nlohmann::json& vocabulary,
                                                              TokenTable* tokens) {
  if (!vocabulary.is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("vocabulary must be an object, not {}", Excerpt(vocabulary)));
  }
  BytePairVocabulary result;
  for (const auto& [spelling, value] : vocabulary.items()) {
    ASSIGN_OR_RETURN(const int32_t id, TokenIdOf(value, fmt::format("token '{}'", spelling)));
    std::optional<std::string> bytes = UnspellBytes(spelling);
    if (bytes.has_value()) result.whole_words_.emplace(*bytes, id);
    RETURN_IF_ERROR(tokens->AddOrdinary(id, std::move(bytes).value_or(spelling)));
    result.ids_.emplace(spelling, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string spelling = SpellByte(static_cast<uint8_t>(byte));
    const auto found = result.ids_.find(spelling);
    if (found == result.ids_.end()) {
      return absl::InvalidArgumentError(
          fmt::format("no token stands for byte 0x{:02X} ('{}')", byte, spelling));
    }
    result.byte_ids_[byte] = found->second;
  }
  return result;
}

absl::StatusOr<int32_t> BytePairVocabulary::IdOf(std::string_view spelling) const {
  const auto found = ids_.find(absl::string_view(spelling.data(), spelling.size()));
  if (found != ids_.end()) return found->second;
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no token of the vocabulary", Shortened(spelling)));
}

absl::Status BytePairVocabulary::AddMerge(std::string_view left, std::string_view right) {
  ASSIGN_OR_RETURN(const int32_t left_id, IdOf(left));
  ASSIGN_OR_RETURN(const int32_t right_id, IdOf(right));
  ASSIGN_OR_RETURN(const int32_t merged, IdOf(std::string(left).append(right)));
  merges_.Add(left_id, right_id, merged);
  return absl::OkStatus();
}

absl::Status BytePairVocabulary::AddMerge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not two tokens with a space between", Shortened(line)));
  }
  return AddMerge(line.substr(0, space), line.substr(space + 1));
}

std::unique_ptr<BytePairSegmenter> BytePairVocabulary::MakeSegmenter(PreTokenizer splitter,
                                                                     bool ignore_merges,
                                                                     const TokenTable& tokens) && {
  if (!ignore_merges) whole_words_.clear();
  absl::erase_if(whole_words_, [&](const auto& word) { return tokens.IsControl(word.second); });
  return std::make_unique<BytePairSegmenter>(std::move(splitter), byte_ids_, std::move(merges_),
                                             std::move(whole_words_));
}

}  // namespace tessera
