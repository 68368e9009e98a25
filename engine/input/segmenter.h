// What a vocabulary makes of plain text: the part of a tokenizer that differs from family to
// family.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

// Immutable, used by any number of threads.
class Segmenter {
 public:
  virtual ~Segmenter() = default;

  // Appends the ids of `text`: valid UTF-8, normalized, not empty, without added tokens.
  virtual void Segment(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

}  // namespace tessera
