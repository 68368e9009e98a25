// Tokens to text while they come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/tokenizer/tokenizer.h"

namespace tessera {

// One per sequence. What Push and Finish return joins to Tokenizer::Decode of all ids.
class Detokenizer {
 public:
  // `tokenizer` must outlive this. `skip_special`: control tokens write nothing.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(&tokenizer),
        skip_special_(skip_special),
        spaces_to_strip_(tokenizer.joining().stripped_spaces) {}

  // The text that is certain after this token: whole characters only, so it may be empty. With
  // BrokenBytes::kPerRun, byte tokens write nothing before another token comes.
  std::string Push(int32_t id);

  // The rest: nothing, or U+FFFD for what was never finished.
  std::string Finish();

 private:
  void PushBytes(std::string_view bytes, std::string* text);
  void EndBytes(std::string* text);
  std::string_view WithoutLeadingSpaces(std::string_view token);
  std::string Strip(std::string text);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  int spaces_to_strip_;
  std::string pending_;  // the beginning of a character; with kPerRun the whole run of bytes
  // Of the run (token_joining.h).
  bool first_token_ = true;
  bool may_lose_space_ = true;
  bool nothing_written_ = true;
};

}  // namespace tessera
