// The text side of one answer: tokens in, whole characters out, held back where a stop string may
// begin.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/stop_strings.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {

class Answer {
 public:
  // `tokenizer` must outlive this. INVALID_ARGUMENT for a stop string that is no valid text.
  static absl::StatusOr<Answer> Create(const Tokenizer& tokenizer,
                                       const std::vector<std::string>& stops);

  struct Text {
    std::string text;
    bool stopped = false;  // a stop string is complete; it and what follows are cut off
  };
  // `may_stop`: stop strings count from this token on.
  Text Push(int32_t id, bool may_stop);
  // What was held back; nothing after a stop string.
  std::string Finish();

 private:
  Answer(const Tokenizer& tokenizer, StopStrings stops)
      : detokenizer_(tokenizer, /*skip_special=*/true), stops_(std::move(stops)) {}

  Detokenizer detokenizer_;
  StopStrings stops_;
};

}  // namespace tessera
