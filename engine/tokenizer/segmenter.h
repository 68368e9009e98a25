// What a vocabulary makes of plain text: the part of a tokenizer that differs from family to
// family.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

// Text between added tokens.
struct TextPart {
  std::string_view text;    // valid UTF-8, normalized, not empty, without added tokens
  bool begins_text = true;  // nothing comes before it, not even an added token
};

// Immutable, used by any number of threads.
class Segmenter {
 public:
  virtual ~Segmenter() = default;

  // Appends the ids of `part`.
  virtual void Segment(const TextPart& part, std::vector<int32_t>* ids) const = 0;
};

}  // namespace tessera
