// Cuts text into the words that byte-pair merges never cross, by the regular expressions that a
// tokenizer was trained with.
//
// The expressions are those of Python's `regex` and of Oniguruma; PCRE2 reads them with Unicode
// properties on. One difference matters: PCRE2's \s has U+180E, theirs is Unicode White_Space; so
// \s is rewritten.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

struct pcre2_real_code_8;

namespace tessera {

// Radford et al. 2019 (GPT-2, Phi).
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Qwen 1, 1.5, 2 and 3, StableLM 2: digits one by one, contractions in any case.
inline constexpr std::string_view kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Immutable, used by any number of threads.
class PreTokenizer {
 public:
  // Each pattern cuts the pieces of the one before. InvalidArgument names a pattern that does not
  // compile, Unimplemented one with an escape whose meaning differs between the libraries.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<std::string>& patterns);

  // The pieces of valid UTF-8 `text`, in order: views that join to `text`. Matches and what lies
  // between them are pieces alike. Where a pattern reaches PCRE2's limits (no pattern above does),
  // the rest of the text is one piece.
  std::vector<std::string_view> Split(std::string_view text) const;

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const;
  };
  using Code = std::unique_ptr<pcre2_real_code_8, FreeCode>;

  std::vector<Code> stages_;
};

}  // namespace tessera
