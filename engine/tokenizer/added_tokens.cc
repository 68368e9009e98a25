#include "engine/tokenizer/added_tokens.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tessera {
namespace {

uint64_t Edge(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

void AddedTokens::Add(std::string_view content, int32_t id, bool control) {
  TESSERA_CHECK(!content.empty());
  begins_[static_cast<uint8_t>(content.front())] = true;
  uint32_t node = 0;
  for (const char byte : content) {
    const auto [child, is_new] = children_.try_emplace(Edge(node, byte), nodes_);
    if (is_new) ++nodes_;
    node = child->second;
  }
  contents_.try_emplace(node, Content{id, control});
}

std::optional<AddedTokenMatch> AddedTokens::MatchAt(MarkedView view, size_t begin) const {
  std::optional<AddedTokenMatch> longest;
  auto trust = SpecialTokens::kParse;  // of the least trusted byte so far
  uint32_t node = 0;
  for (size_t at = begin; at < view.text.size(); ++at) {
    const auto child = children_.find(Edge(node, view.text[at]));
    if (child == children_.end()) break;
    node = child->second;
    trust = std::min(trust, static_cast<SpecialTokens>(view.marks[at]));
    if (trust == SpecialTokens::kNone) break;
    const auto content = contents_.find(node);
    if (content == contents_.end()) continue;
    if (content->second.control && trust != SpecialTokens::kParse) continue;
    longest = AddedTokenMatch{begin, at + 1, content->second.id};
  }
  return longest;
}

std::optional<AddedTokenMatch> AddedTokens::Find(MarkedView view, size_t from) const {
  if (contents_.empty()) return {};
  for (size_t begin = from; begin < view.text.size(); ++begin) {
    if (!begins_[static_cast<uint8_t>(view.text[begin])]) continue;
    if (auto match = MatchAt(view, begin)) return match;
  }
  return {};
}

}  // namespace tessera
