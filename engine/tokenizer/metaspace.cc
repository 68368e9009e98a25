#include "engine/tokenizer/metaspace.h"

#include <algorithm>

#include "engine/tokenizer/space_symbol.h"

namespace tessera {

std::string Metaspace::Escape(const TextPart& part) const {
  std::string text = ReplaceAll(part.text, " ", kSpaceSymbol);
  const bool prepends =
      prepend == Prepend::kAlways || (prepend == Prepend::kFirst && part.begins_text);
  if (prepends && text.compare(0, kSpaceSymbol.size(), kSpaceSymbol) != 0) {
    text.insert(0, kSpaceSymbol);
  }
  return text;
}

std::vector<std::string_view> Metaspace::Split(std::string_view escaped) const {
  if (!split) return {escaped};
  std::vector<std::string_view> pieces;
  while (!escaped.empty()) {
    const size_t end = std::min(escaped.find(kSpaceSymbol, 1), escaped.size());
    pieces.push_back(escaped.substr(0, end));
    escaped.remove_prefix(end);
  }
  return pieces;
}

void PieceSegmenter::Segment(const TextPart& part, std::vector<int32_t>* ids) const {
  if (!metaspace_.has_value()) return model_->Append(part.text, ids);
  const std::string escaped = metaspace_->Escape(part);
  for (const std::string_view piece : metaspace_->Split(escaped)) model_->Append(piece, ids);
}

}  // namespace tessera
