// What is done to text before it is cut into tokens, step by step, with the marks of its bytes
// kept.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/tokenizer/marked_text.h"

namespace tessera {

// Immutable once filled, used by any number of threads.
class TextNormalizer {
 public:
  // Unicode normalization form C.
  void AddNfc() { steps_.emplace_back(Nfc{}); }
  // Puts `text` in front of what is not empty; as trusted as the template.
  void AddPrepend(std::string text) { steps_.emplace_back(Prepend{std::move(text)}); }
  // `from` is not empty.
  void AddReplace(std::string from, std::string to) {
    steps_.emplace_back(Replace{std::move(from), std::move(to)});
  }

  // The normalized text, or nothing where it stays as it is. What replaces bytes is trusted as the
  // least trusted of them.
  std::optional<MarkedText> Normalize(MarkedView view) const;
  std::string Normalize(const std::string& text) const;

 private:
  struct Nfc {};
  struct Prepend {
    std::string text;
  };
  struct Replace {
    std::string from, to;
  };

  static std::optional<MarkedText> Apply(const Nfc& step, MarkedView view);
  static std::optional<MarkedText> Apply(const Prepend& step, MarkedView view);
  static std::optional<MarkedText> Apply(const Replace& step, MarkedView view);

  std::vector<std::variant<Nfc, Prepend, Replace>> steps_;
};

}  // namespace tessera
