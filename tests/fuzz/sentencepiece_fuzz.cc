// Any bytes as a tokenizer.model: refused, or pieces of which exactly one is unknown, and
// tokenizers as SentencePiece itself and as both classes of transformers make of them.
#include "engine/base/check.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/sentencepiece_model.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"
#include "tests/fuzz/any_text.h"
#include "tests/fuzz/input_file.h"

namespace tessera::fuzz {
namespace {

void UsePieces(const SentencePieceModel& model) {
  int unknown = 0;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    TESSERA_CHECK(!piece.text.empty() && ValidateUtf8(piece.text).ok());
    unknown += piece.type == SentencePieceModel::PieceType::kUnknown;
  }
  TESSERA_CHECK(unknown == 1 && model.unknown >= 0);
}

void UseFile(const std::filesystem::path& path, const TokenizerConfig& config, bool fast) {
  auto parts = ReadSentencePieceTokenizer(path, config, fast);
  if (parts.ok()) UseTokenizer(*std::move(parts));
}

}  // namespace
}  // namespace tessera::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto model = tessera::ParseSentencePieceModel({reinterpret_cast<const char*>(data), size});
  if (!model.ok()) return 0;
  tessera::fuzz::UsePieces(*model);
  const auto path = tessera::fuzz::WriteInput("tokenizer.model", data, size);
  tessera::TokenizerConfig config;
  tessera::fuzz::UseFile(path, config, /*fast=*/false);
  config.tokenizer_class = "LlamaTokenizer";
  tessera::fuzz::UseFile(path, config, /*fast=*/true);
  config.legacy = false;
  tessera::fuzz::UseFile(path, config, /*fast=*/false);
  return 0;
}
