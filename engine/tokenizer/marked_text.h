// Text of which every byte knows how far its writer is trusted.
//
// A prompt is a template's own words, in which "<|endoftext|>" means the end of a turn, around a
// user's words, in which it is just thirteen characters. Both must be tokenized as one text, for a
// tokenizer's pieces reach across the border
// ("USER: " + "why" holds the token " why"). So the text is joined and the marks go along.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// Which added tokens may be found in a text.
enum class SpecialTokens : char {
  kNone,   // none: every string is spelled by the ordinary vocabulary (transformers:
           // split_special_tokens=True)
  kText,   // ordinary ones only (Phi's runs of spaces and tabs); control tokens such as
           // "<|endoftext|>" stay text
  kParse,  // all: a control token's string becomes its id, as the reference implementations do
};

// A run of text by one writer.
struct TextSpan {
  std::string text;  // valid UTF-8
  SpecialTokens special = SpecialTokens::kText;
};

struct MarkedView {
  std::string_view text;
  std::string_view marks;  // one SpecialTokens per byte of text

  MarkedView Slice(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin), marks.substr(begin, end - begin)};
  }
};

struct MarkedText {
  std::string text;
  std::string marks;  // one SpecialTokens per byte of text

  void Append(std::string_view more, SpecialTokens special) {
    text.append(more);
    marks.append(more.size(), static_cast<char>(special));
  }
  void Append(MarkedView more) {
    text.append(more.text);
    marks.append(more.marks);
  }
  MarkedView view() const { return {text, marks}; }
};

}  // namespace tessera
