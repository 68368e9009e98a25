#include "engine/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

// Every code point below U+0300 is a starter that composes with nothing before it: text may be cut
// in front of it. Their UTF-8 begins with a byte below 0xCC.
bool MayCutBefore(char byte) {
  const auto value = static_cast<uint8_t>(byte);
  return value < 0x80 || (value >= 0xC0 && value < 0xCC);
}

bool StaysAsItIs(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char byte) { return static_cast<uint8_t>(byte) >= 0xCC; });
}

std::vector<utf8proc_int32_t> Decompose(std::string_view text) {
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size() + 4);
  int boundary = 0;  // used by utf8proc for grapheme options only
  while (!text.empty()) {
    const Utf8Part part = NextUtf8Part(text);
    TESSERA_CHECK(part.kind == Utf8Kind::kCharacter);
    utf8proc_int32_t parts[32];  // the longest canonical decomposition has 4 code points
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(part.code_point),
                                               parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    TESSERA_CHECK(count > 0 && count <= 32);
    points.insert(points.end(), parts, parts + count);
    text.remove_prefix(part.length);
  }
  return points;
}

int CombiningClass(utf8proc_int32_t point) { return utf8proc_get_property(point)->combining_class; }

// Canonical ordering. utf8proc's own sorts by swapping neighbours, which takes quadratic time on a
// long run of marks.
void SortMarks(std::vector<utf8proc_int32_t>* points) {
  for (auto begin = points->begin(); begin != points->end();) {
    if (CombiningClass(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end =
        std::find_if(begin, points->end(), [](auto point) { return CombiningClass(point) == 0; });
    std::stable_sort(begin, end,
                     [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    begin = end;
  }
}

std::string Compose(std::string_view text) {
  std::vector<utf8proc_int32_t> points = Decompose(text);
  SortMarks(&points);
  const auto count =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  TESSERA_CHECK(count >= 0);
  std::string composed;
  composed.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendUtf8(static_cast<char32_t>(points[static_cast<size_t>(i)]), &composed);
  }
  return composed;
}

void AppendComposed(MarkedView part, MarkedText* out) {
  const std::string composed = Compose(part.text);
  const auto differ =
      std::mismatch(composed.begin(), composed.end(), part.text.begin(), part.text.end());
  const auto same = static_cast<size_t>(differ.first - composed.begin());
  const char least = *std::min_element(part.marks.begin(), part.marks.end());
  out->Append(part.Slice(0, same));
  out->Append(std::string_view(composed).substr(same), static_cast<SpecialTokens>(least));
}

}  // namespace

std::optional<MarkedText> NormalizeNfc(MarkedView view) {
  if (StaysAsItIs(view.text)) return {};
  MarkedText out;
  out.text.reserve(view.text.size());
  out.marks.reserve(view.text.size());
  for (size_t begin = 0; begin < view.text.size();) {
    size_t end = begin + 1;
    while (end < view.text.size() && !MayCutBefore(view.text[end])) ++end;
    const MarkedView part = view.Slice(begin, end);
    if (StaysAsItIs(part.text)) {
      out.Append(part);
    } else {
      AppendComposed(part, &out);
    }
    begin = end;
  }
  return out;
}

}  // namespace tessera
