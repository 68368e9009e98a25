// SentencePiece's precompiled_charsmap: which strings are replaced by which when text is
// normalized, e.g. "ﬁ" by "fi".
//
// Format: the size of the trie as 4 bytes, little endian; the trie, a double array of Darts-clone
// (https://github.com/s-yata/darts-clone: 32-bit units, offset, label, leaf bit); the replacements,
// each ended by a NUL. A leaf's value is where its replacement begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

// Immutable, used by any number of threads.
class Charsmap {
 public:
  // Replaces nothing.
  Charsmap() = default;

  // InvalidArgument: sizes that do not fit, a replacement outside the table, not ended or no UTF-8,
  // units that lead back to themselves.
  static absl::StatusOr<Charsmap> Parse(std::string_view blob);

  struct Match {
    size_t length = 0;  // 0: nothing is replaced here
    std::string_view replacement;
  };
  // The longest string of the table, of at most 256 bytes, that `text` begins with.
  Match Longest(std::string_view text) const;

  bool empty() const { return units_.empty(); }

 private:
  absl::Status CheckUnits() const;
  absl::Status CheckReplacement(uint32_t value) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace tessera
