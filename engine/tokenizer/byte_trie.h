// Finds the strings of a fixed set that a text begins with, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera {

// Immutable, used by any number of threads.
class ByteTrie {
 public:
  using Keys = std::vector<std::pair<std::string_view, int32_t>>;

  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNoNode = UINT32_MAX;
  static constexpr int32_t kNoValue = -1;

  ByteTrie() : ByteTrie(Keys{}) {}

  // Keys are not empty and differ; values are not negative.
  explicit ByteTrie(Keys keys);

  // The node of what `node` stands for and `byte` after it; kNoNode: no key begins so.
  uint32_t Child(uint32_t node, char byte) const;

  // Of the key that ends here, kNoValue where none does.
  int32_t Value(uint32_t node) const { return nodes_[node].value; }

  struct Match {
    size_t length = 0;  // 0: none
    int32_t value = kNoValue;
  };
  // The longest key that `text` begins with.
  Match Longest(std::string_view text) const;

  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    uint32_t first_child = 0;  // children are neighbours, in the order of their bytes
    uint16_t children = 0;
    int32_t value = kNoValue;
  };

  std::vector<Node> nodes_;
  std::string bytes_;  // by node: the byte that leads to it
};

}  // namespace tessera
