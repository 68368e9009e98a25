#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/tokenizer/pretokenizer.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <cctype>
#include <cstdint>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
using Match = std::unique_ptr<pcre2_match_data, FreeMatch>;

// Backtracking steps that one search may take; the patterns above need one step per byte of a run.
constexpr uint32_t kHeapLimitKib = 1 << 18;

absl::StatusOr<std::string> TranslatePattern(const std::string& pattern) {
  constexpr std::string_view kSameMeaning = "pPdDwWrntf";
  std::string translated;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern.compare(i, 2, "&&") == 0) {
      return absl::UnimplementedError(
          fmt::format("pattern '{}': intersection && is not supported", pattern));
    }
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      translated.push_back(pattern[i]);
      continue;
    }
    const char escape = pattern[++i];
    if (escape == 's') {
      translated += "\\p{White_Space}";
    } else if (escape == 'S') {
      translated += "\\P{White_Space}";
    } else if (std::isalnum(static_cast<unsigned char>(escape)) == 0 ||
               kSameMeaning.find(escape) != std::string_view::npos) {
      translated += {'\\', escape};
    } else {
      return absl::UnimplementedError(
          fmt::format("pattern '{}': escape \\{} is not supported", pattern, escape));
    }
  }
  return translated;
}

// Searches `text` from `from` on. The code's own stack suffices for the patterns above; another
// pattern may need the interpreter, which takes its memory from the heap.
int Search(const pcre2_code* code, std::string_view text, size_t from, pcre2_match_data* match,
           pcre2_match_context* limits) {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int found =
      pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, match, limits);
  if (found != PCRE2_ERROR_JIT_STACKLIMIT) return found;
  return pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                     limits);
}

void SplitWith(const pcre2_code* code, std::string_view text, pcre2_match_data* match,
               pcre2_match_context* limits, std::vector<std::string_view>* pieces) {
  size_t done = 0;  // up to here the text is cut
  size_t from = 0;  // from here on it is searched
  while (from < text.size()) {
    if (Search(code, text, from, match, limits) < 0) break;  // no match, or a limit
    const size_t* ends = pcre2_get_ovector_pointer(match);
    const size_t begin = ends[0], end = ends[1];
    if (end <= begin) {  // an empty match cuts nothing: go on behind the next character
      if (begin >= text.size()) break;
      from = begin + NextUtf8Part(text.substr(begin)).length;
      continue;
    }
    if (begin > done) pieces->push_back(text.substr(done, begin - done));
    pieces->push_back(text.substr(begin, end - begin));
    done = from = end;
  }
  if (done < text.size()) pieces->push_back(text.substr(done));
}

}  // namespace

void PreTokenizer::FreeCode::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<std::string>& patterns) {
  PreTokenizer splitter;
  for (const std::string& pattern : patterns) {
    ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
    int error = 0;
    size_t offset = 0;
    Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                            nullptr));
    if (code == nullptr) {
      char reason[256] = "";
      pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(reason), sizeof(reason));
      return absl::InvalidArgumentError(
          fmt::format("pattern '{}' does not compile: {} at byte {}", pattern, reason, offset));
    }
    // Where the system forbids writable code pages this fails, and the interpreter matches instead.
    (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    splitter.stages_.push_back(std::move(code));
  }
  return splitter;
}

std::vector<std::string_view> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  if (text.empty()) return pieces;
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  const Match match(pcre2_match_data_create(1, nullptr));
  TESSERA_CHECK(limits != nullptr && match != nullptr);
  pcre2_set_heap_limit(limits.get(), kHeapLimitKib);
  pieces.push_back(text);
  for (const Code& code : stages_) {
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) {
      SplitWith(code.get(), piece, match.get(), limits.get(), &finer);
    }
    pieces = std::move(finer);
  }
  return pieces;
}

}  // namespace tessera
