// The model of a tokenizer.json whose tokens are made of characters: BPE with merges, or Unigram
// with scores.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/piece_model.h"
#include "engine/tokenizer/token_table.h"
#include "engine/tokenizer/tokenizer_json_stages.h"

namespace tessera {

// Both functions take the object under "model". InvalidArgument names the entry, Unimplemented the
// option.

// Adds the vocabulary, written as the decoder says.
absl::Status ReadJsonPieces(const nlohmann::json& model, const JsonDecoder& decoder,
                            TokenTable* tokens);

// `tokens`: with the added tokens, of which those for control match no plain text.
absl::StatusOr<std::unique_ptr<PieceModel>> MakeJsonPieceModel(const nlohmann::json& model,
                                                               const TokenTable& tokens);

}  // namespace tessera
