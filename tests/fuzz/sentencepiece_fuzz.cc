// Any bytes as a tokenizer.model: refused, or pieces of which exactly one is unknown.
#include "engine/check.h"
#include "engine/input/sentencepiece_model.h"
#include "engine/input/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tessera::SentencePieceModel;
  const auto model = tessera::ParseSentencePieceModel({reinterpret_cast<const char*>(data), size});
  if (!model.ok()) return 0;
  int unknown = 0;
  for (const SentencePieceModel::Piece& piece : model->pieces) {
    TESSERA_CHECK(!piece.text.empty() && tessera::ValidateUtf8(piece.text).ok());
    unknown += piece.type == SentencePieceModel::PieceType::kUnknown;
  }
  TESSERA_CHECK(unknown == 1 && model->unknown >= 0);
  return 0;
}
