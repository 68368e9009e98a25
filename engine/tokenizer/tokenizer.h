// Text to token ids and back, as the tokenizer of a checkpoint does it.
//
// A tokenizer is made of stages (tokenizer_parts.h), which the files of a model directory describe:
// added tokens are cut out, what remains is normalized and given to a segmenter. Immutable after
// loading, used by any number of threads.
//
// transformers has two classes for most families, a slow one in Python and a fast one on the
// tokenizers library, which read the same directory, and give other ids and texts here and there.
// Which one a model's own code uses is a fact about that code.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/marked_text.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace tessera {

enum class TokenizerClass {
  kAny,   // the fast one where there is a tokenizer.json, otherwise the slow one
  kSlow,  // the slow one; where its files are missing, the fast one
  kFast,  // the fast one; where there is no tokenizer.json, what transformers 4.37 makes of the
          // slow one's files
};

class Tokenizer {
 public:
  // Reads tokenizer.json (fast), or vocab.json with merges.txt, *.tiktoken or tokenizer.model
  // (slow), with the files beside them. NotFound when there is no vocabulary, Unimplemented for a
  // kind that is not supported, InvalidArgument with file and entry for a broken one.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::filesystem::path& model_directory,
      TokenizerClass tokenizer_class = TokenizerClass::kAny);

  explicit Tokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  // The ids of `text`, which must be valid UTF-8 (ValidateUtf8). Adds no bos.
  std::vector<int32_t> Encode(std::string_view text, SpecialTokens special) const;

  // The ids of the spans' texts joined. A control token is found only where all its bytes come from
  // kParse spans.
  std::vector<int32_t> Encode(std::span<const TextSpan> spans) const;

  // What the ids write, as valid UTF-8 (token_joining.h). Ids that no token has write nothing.
  // `skip_special`: neither do control tokens.
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const;

  // Rows in use: the highest id plus one, added tokens included.
  int32_t vocabulary() const { return parts_.tokens.size(); }

  // The raw bytes an id writes, maybe half a character; empty for an id that no token has.
  std::string_view TokenBytes(int32_t id) const { return parts_.tokens.Bytes(id); }
  TokenKind Kind(int32_t id) const { return parts_.tokens.Kind(id); }
  bool IsSpecial(int32_t id) const { return parts_.tokens.IsControl(id); }
  const TokenJoining& joining() const { return parts_.joining; }

  // The id of the token that writes `content`, e.g. "<|endoftext|>"; an added token rather than an
  // ordinary one.
  std::optional<int32_t> FindToken(std::string_view content) const {
    return parts_.tokens.Find(content);
  }

  std::optional<int32_t> bos() const { return parts_.bos; }
  std::optional<int32_t> eos() const { return parts_.eos; }
  std::optional<int32_t> unk() const { return parts_.unk; }
  std::optional<int32_t> pad() const { return parts_.pad; }

  // Whether a prompt begins with bos, and whether each stretch of it between images ends with eos.
  bool adds_bos() const { return parts_.adds_bos; }
  bool adds_eos() const { return parts_.adds_eos; }

 private:
  std::vector<int32_t> Encode(MarkedView view) const;
  void EncodeWithoutRaw(MarkedView view, bool begins_text, std::vector<int32_t>* ids) const;

  TokenizerParts parts_;
};

}  // namespace tessera
