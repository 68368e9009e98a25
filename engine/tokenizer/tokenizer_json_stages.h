// The stages around the model of a tokenizer.json: what is done to text before, to tokens when they
// become text again, and which tokens are put around a text.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/metaspace.h"
#include "engine/tokenizer/text_normalizer.h"
#include "engine/tokenizer/token_joining.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace tessera {

// Each reader takes a stage or null and returns Unimplemented, naming it, for what is not
// supported.

// NFC, Prepend, Replace of a string.
absl::Status ReadJsonNormalizer(const nlohmann::json& normalizer, TextNormalizer* steps);

struct JsonPreTokenizer {
  bool byte_level = false;            // tokens are spelled in the byte alphabet
  std::vector<std::string> patterns;  // with byte_level only
  std::optional<Metaspace> metaspace;
};
// Split by patterns and then ByteLevel; Metaspace; or none.
absl::StatusOr<JsonPreTokenizer> ReadJsonPreTokenizer(const nlohmann::json& pre_tokenizer);

struct JsonDecoder {
  bool byte_level = false;
  bool spaces = false;  // U+2581 in a token writes a space
  bool bytes = false;   // "<0x0A>" writes its byte
  TokenJoining joining;
};
// ByteLevel; or Replace of U+2581, ByteFallback, Fuse and Strip, in this order, each perhaps left
// out; or Metaspace. A Strip without Fuse is not supported.
absl::StatusOr<JsonDecoder> ReadJsonDecoder(const nlohmann::json& decoder);

struct JsonPostProcessor {
  bool adds_bos = false;
  bool adds_eos = false;
};
// ByteLevel (changes offsets only); a template of bos, the text and eos.
absl::StatusOr<JsonPostProcessor> ReadJsonPostProcessor(const nlohmann::json& post_processor,
                                                        const TokenizerConfig& config);

}  // namespace tessera
