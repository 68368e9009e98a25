#include "engine/tokenizer/sentencepiece_normalizer.h"

#include "engine/base/utf8.h"
#include "engine/tokenizer/space_symbol.h"

namespace tessera {
namespace {

struct Part {
  size_t length;          // of the text it stands for
  std::string_view text;  // normalized
};

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

Part NextPart(const SentencePieceNormalizer& normalizer, std::string_view text) {
  if (!normalizer.user_defined.empty()) {
    const size_t length = normalizer.user_defined.Longest(text).length;
    if (length > 0) return {length, text.substr(0, length)};
  }
  if (const auto match = normalizer.charsmap.Longest(text); match.length > 0) {
    return {match.length, match.replacement};
  }
  const Utf8Part part = NextUtf8Part(text);
  // The table's strings may end inside a character.
  const bool whole = part.kind == Utf8Kind::kCharacter;
  return {whole ? part.length : 1, whole ? text.substr(0, part.length) : kReplacementCharacter};
}

void AppendEscaped(std::string_view text, std::string* out) {
  for (const char byte : text) {
    if (byte == ' ') {
      out->append(kSpaceSymbol);
    } else {
      out->push_back(byte);
    }
  }
}

}  // namespace

std::string SentencePieceNormalizer::Normalize(std::string_view text) const {
  while (remove_extra_whitespaces && !text.empty()) {
    const Part part = NextPart(*this, text);
    if (part.text != " ") break;
    text.remove_prefix(part.length);
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 2 + kSpaceSymbol.size());
  if (add_dummy_prefix && !space_is_suffix) out.append(kSpaceSymbol);
  bool after_space = remove_extra_whitespaces;
  while (!text.empty()) {
    const Part part = NextPart(*this, text);
    std::string_view normalized = part.text;
    while (after_space && !normalized.empty() && normalized.front() == ' ') {
      normalized.remove_prefix(1);
    }
    AppendEscaped(normalized, &out);
    if (!normalized.empty()) after_space = remove_extra_whitespaces && normalized.back() == ' ';
    text.remove_prefix(part.length);
  }
  while (remove_extra_whitespaces && EndsWith(out, kSpaceSymbol)) {
    out.resize(out.size() - kSpaceSymbol.size());
  }
  if (add_dummy_prefix && space_is_suffix) out.append(kSpaceSymbol);
  return out;
}

}  // namespace tessera
