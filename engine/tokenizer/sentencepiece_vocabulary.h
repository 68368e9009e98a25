// A SentencePiece file's pieces as the models that cut text into them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/tokenizer/byte_trie.h"
#include "engine/tokenizer/piece_model.h"
#include "engine/tokenizer/sentencepiece_model.h"

namespace tessera {

// By the file's algorithm. Does not refer to `model` afterwards.
std::unique_ptr<PieceModel> MakePieceModel(const SentencePieceModel& model);

// The user-defined pieces, with their ids.
ByteTrie UserDefinedPieces(const SentencePieceModel& model);

// The id of the piece with this text, if there is one.
std::optional<int32_t> PieceId(const SentencePieceModel& model, std::string_view text);

}  // namespace tessera
