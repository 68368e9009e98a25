// Reads a pickle as data: the opcodes that plain values and rebuilt objects are made of build a
// graph, nothing is ever called (Python's Lib/pickletools.py describes the opcodes; protocols 2 to
// 5).
//
// Globals that the caller does not allow and every other opcode are refused with their place.
// Memory is bounded by the input's size, and there is no recursion: a node names others by number,
// so graphs may share nodes and even contain themselves.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,  // its value is not kept
  kString,
  kList,
  kTuple,
  kDict,        // items: key, value, key, value, …
  kGlobal,      // integer: its place in the list of allowed ones
  kPersistent,  // items: the id, for which the reader knows the object
  kObject,      // items: the global, its tuple of arguments, then the keys and values set on it
};

struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  uint32_t offset = 0;  // of the opcode that made it
  int64_t integer = 0;
  std::string_view text = {};
  std::vector<uint32_t> items = {};
};

struct Pickle {
  std::vector<PickleNode> nodes;
  uint32_t root = 0;

  const PickleNode& at(uint32_t node) const { return nodes[node]; }
};

// `allowed`: globals as "module.name". Strings are views into `bytes`. Errors say "byte N".
absl::StatusOr<Pickle> ReadPickle(std::string_view bytes,
                                  std::span<const std::string_view> allowed);

}  // namespace tessera
