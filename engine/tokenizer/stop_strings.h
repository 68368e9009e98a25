// Ends a text at the first stop string, while the text comes in pieces of any size.
//
// Text that may be the beginning of a stop string is held back until it is certain, so that a
// reader never sees half of one. Each stop string is searched with the automaton of Knuth, Morris
// and Pratt (1977), in time linear in the text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

class StopStrings {
 public:
  struct Result {
    std::string emit;
    bool matched = false;
  };

  // InvalidArgument for a stop string that is empty or no valid UTF-8. No stop strings: nothing is
  // ever held back.
  static absl::StatusOr<StopStrings> Create(const std::vector<std::string>& stops);

  // Takes the next piece of text. The stop string that is complete first ends the text in front of
  // it; of two that are complete together, the longer one. From then on nothing is emitted. How
  // text was cut into pieces does not matter.
  Result Push(std::string_view text);

  // What was held back, when the text ends without a stop string.
  std::string Finish();

  bool matched() const { return matched_; }

 private:
  struct Stop {
    std::string text;
    std::vector<size_t>
        fallback;  // by matched length: the longest shorter beginning of text that still matches
    size_t matched = 0;  // bytes of text that the end of what was pushed matches
  };

  // The longest stop string that ends with this byte, or 0.
  size_t Advance(char byte);

  std::vector<Stop> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace tessera
