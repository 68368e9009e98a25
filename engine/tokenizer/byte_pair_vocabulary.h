// A byte-level BPE vocabulary as GPT-2's files spell it, checked and turned into tables.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/token_table.h"

namespace tessera {

class BytePairVocabulary {
 public:
  // `vocabulary`: spelling → id, in any order. Fills `tokens` with the bytes of each. A spelling
  // outside the byte alphabet stands for itself, as the strings of control tokens do.
  // InvalidArgument names the entry: no object, an id that is no number, out of range or used
  // twice, a byte that no token stands for.
  static absl::StatusOr<BytePairVocabulary> Create(const nlohmann::json& vocabulary,
                                                   TokenTable* tokens);

  // The next merge. InvalidArgument when a part or the result is no token.
  absl::Status AddMerge(std::string_view left, std::string_view right);

  // As above, from "left right", a line of merges.txt.
  absl::Status AddMerge(std::string_view line);

  // `ignore_merges`: a word that is a token as it stands is that token, unless `tokens` says that
  // it is a control token.
  std::unique_ptr<BytePairSegmenter> MakeSegmenter(PreTokenizer splitter, bool ignore_merges,
                                                   const TokenTable& tokens) &&;

 private:
  absl::StatusOr<int32_t> IdOf(std::string_view spelling) const;

  absl::flat_hash_map<std::string, int32_t> ids_;          // by spelling
  absl::flat_hash_map<std::string, int32_t> whole_words_;  // by bytes
  std::array<int32_t, 256> byte_ids_{};
  MergeTable merges_;
};

}  // namespace tessera
