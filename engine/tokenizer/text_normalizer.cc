#include "engine/tokenizer/text_normalizer.h"

#include <algorithm>
#include <string_view>

#include "engine/tokenizer/normalizer.h"

namespace tessera {

std::optional<MarkedText> TextNormalizer::Apply(const Nfc& /*step*/, MarkedView view) {
  return NormalizeNfc(view);
}

std::optional<MarkedText> TextNormalizer::Apply(const Prepend& step, MarkedView view) {
  if (view.text.empty()) return {};
  MarkedText out;
  out.Append(step.text, SpecialTokens::kParse);
  out.Append(view);
  return out;
}

std::optional<MarkedText> TextNormalizer::Apply(const Replace& step, MarkedView view) {
  size_t at = view.text.find(step.from);
  if (at == std::string_view::npos) return {};
  MarkedText out;
  size_t done = 0;
  for (; at != std::string_view::npos; at = view.text.find(step.from, done)) {
    out.Append(view.Slice(done, at));
    done = at + step.from.size();
    const std::string_view marks = view.marks.substr(at, step.from.size());
    out.Append(step.to, static_cast<SpecialTokens>(*std::min_element(marks.begin(), marks.end())));
  }
  out.Append(view.Slice(done, view.text.size()));
  return out;
}

std::optional<MarkedText> TextNormalizer::Normalize(MarkedView view) const {
  std::optional<MarkedText> text;
  for (const auto& step : steps_) {
    const MarkedView now = text.has_value() ? text->view() : view;
    auto next = std::visit([&](const auto& kind) { return Apply(kind, now); }, step);
    if (next.has_value()) text = std::move(next);
  }
  return text;
}

std::string TextNormalizer::Normalize(const std::string& text) const {
  const std::string marks(text.size(), static_cast<char>(SpecialTokens::kParse));
  auto normalized = Normalize(MarkedView{text, marks});
  return normalized.has_value() ? std::move(normalized->text) : text;
}

}  // namespace tessera
