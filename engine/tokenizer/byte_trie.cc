#include "engine/tokenizer/byte_trie.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"

namespace tessera {

// Breadth first, so that the children of a node come one after the other. A node's keys are a range
// of the sorted ones.
ByteTrie::ByteTrie(Keys keys) {
  struct Range {
    size_t begin, end, depth;
  };
  std::sort(keys.begin(), keys.end());
  std::vector<Range> ranges = {{0, keys.size(), 0}};  // by node
  nodes_.emplace_back();
  bytes_.push_back('\0');
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [at, end, depth] = ranges[node];
    if (at < end && keys[at].first.size() == depth) {
      TESSERA_CHECK(depth > 0 && keys[at].second >= 0);
      nodes_[node].value = keys[at++].second;
    }
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (at < end) {
      TESSERA_CHECK_MSG(keys[at].first.size() > depth, "a key is there twice");
      const char byte = keys[at].first[depth];
      const size_t begin = at;
      while (at < end && keys[at].first.size() > depth && keys[at].first[depth] == byte) ++at;
      ranges.push_back({begin, at, depth + 1});
      nodes_.emplace_back();
      bytes_.push_back(byte);
      ++nodes_[node].children;
    }
  }
}

uint32_t ByteTrie::Child(uint32_t node, char byte) const {
  const Node& parent = nodes_[node];
  const char* first = bytes_.data() + parent.first_child;
  if (parent.children == 1) return *first == byte ? parent.first_child : kNoNode;
  const void* found = std::memchr(first, static_cast<uint8_t>(byte), parent.children);
  if (found == nullptr) return kNoNode;
  return parent.first_child + static_cast<uint32_t>(static_cast<const char*>(found) - first);
}

ByteTrie::Match ByteTrie::Longest(std::string_view text) const {
  Match longest;
  uint32_t node = kRoot;
  for (size_t i = 0; i < text.size(); ++i) {
    node = Child(node, text[i]);
    if (node == kNoNode) break;
    if (Value(node) != kNoValue) longest = {i + 1, Value(node)};
  }
  return longest;
}

}  // namespace tessera
