#include "engine/tokenizer/sentencepiece_model.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_files.h"
#include "engine/tokenizer/wire_reader.h"

namespace tessera {
namespace {

using Model = SentencePieceModel;
using PieceType = Model::PieceType;

constexpr size_t kMaxPieceBytes = 1024;

// Gives every field of `message` to `take`, which returns a status.
template <typename Take>
absl::Status ForEachField(std::string_view message, size_t offset, const Take& take) {
  WireReader reader(message, offset);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field.has_value()) return absl::OkStatus();
    RETURN_IF_ERROR(take(*field));
  }
}

absl::Status WrongType(const WireField& field, std::string_view name) {
  return absl::InvalidArgumentError(fmt::format("{} (field {}) has wire type {}", name,
                                                field.number, static_cast<int>(field.type)));
}

absl::Status Take(const WireField& field, std::string_view name, std::string* value) {
  if (field.type != WireField::Type::kBytes) return WrongType(field, name);
  *value = std::string(field.bytes);
  return absl::OkStatus();
}

absl::Status Take(const WireField& field, std::string_view name, uint64_t* value) {
  if (field.type != WireField::Type::kVarint) return WrongType(field, name);
  *value = field.value;
  return absl::OkStatus();
}

absl::Status Take(const WireField& field, std::string_view name, bool* value) {
  uint64_t number = 0;
  RETURN_IF_ERROR(Take(field, name, &number));
  *value = number != 0;
  return absl::OkStatus();
}

absl::Status Take(const WireField& field, std::string_view name, float* value) {
  if (field.type != WireField::Type::kFixed32) return WrongType(field, name);
  *value = std::bit_cast<float>(static_cast<uint32_t>(field.value));
  return absl::OkStatus();
}

absl::Status CheckPiece(const Model::Piece& piece, uint64_t type) {
  if (piece.text.empty()) return absl::InvalidArgumentError("empty");
  if (piece.text.size() > kMaxPieceBytes) {
    return absl::InvalidArgumentError(fmt::format("{} bytes are more than the {} a piece may have",
                                                  piece.text.size(), kMaxPieceBytes));
  }
  RETURN_IF_ERROR(ValidateUtf8(piece.text));
  if (!std::isfinite(piece.score)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}': score {} is not finite", piece.text, piece.score));
  }
  if (type < 1 || type > 6) {
    return absl::InvalidArgumentError(fmt::format("'{}': type {} is not known", piece.text, type));
  }
  if (type == static_cast<uint64_t>(PieceType::kByte) && BytePieceValue(piece.text) < 0) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is a byte piece, but not spelled like one ('<0x0A>')", piece.text));
  }
  return absl::OkStatus();
}

absl::Status ReadPiece(const WireField& message, Model* model) {
  Model::Piece piece;
  uint64_t type = 1;
  RETURN_IF_ERROR(ForEachField(message.bytes, message.offset, [&](const WireField& field) {
    if (field.number == 1) return Take(field, "piece", &piece.text);
    if (field.number == 2) return Take(field, "score", &piece.score);
    if (field.number == 3) return Take(field, "type", &type);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(CheckPiece(piece, type));
  piece.type = static_cast<PieceType>(type);
  model->pieces.push_back(std::move(piece));
  return absl::OkStatus();
}

absl::Status ReadTrainerSpec(const WireField& message, Model* model) {
  auto algorithm = static_cast<uint64_t>(model->algorithm);
  RETURN_IF_ERROR(ForEachField(message.bytes, message.offset, [&](const WireField& field) {
    switch (field.number) {
      case 3:
        return Take(field, "model_type", &algorithm);
      case 24:
        return Take(field, "treat_whitespace_as_suffix", &model->space_is_suffix);
      case 35:
        return Take(field, "byte_fallback", &model->byte_fallback);
      case 44:
        return Take(field, "unk_surface", &model->unknown_surface);
      case 46:
        return Take(field, "bos_piece", &model->bos);
      case 47:
        return Take(field, "eos_piece", &model->eos);
      case 48:
        return Take(field, "pad_piece", &model->pad);
      default:
        return absl::OkStatus();
    }
  }));
  if (algorithm != 1 && algorithm != 2) {
    return absl::UnimplementedError(fmt::format(
        "model_type {} is not supported; supported: 1 (unigram), 2 (byte pairs)", algorithm));
  }
  model->algorithm = static_cast<Model::Algorithm>(algorithm);
  return ValidateUtf8(model->unknown_surface);
}

absl::Status ReadNormalizerSpec(const WireField& message, Model* model) {
  bool escape_whitespaces = true;
  RETURN_IF_ERROR(ForEachField(message.bytes, message.offset, [&](const WireField& field) {
    switch (field.number) {
      case 2:
        return Take(field, "precompiled_charsmap", &model->charsmap);
      case 3:
        return Take(field, "add_dummy_prefix", &model->add_dummy_prefix);
      case 4:
        return Take(field, "remove_extra_whitespaces", &model->remove_extra_whitespaces);
      case 5:
        return Take(field, "escape_whitespaces", &escape_whitespaces);
      default:
        return absl::OkStatus();
    }
  }));
  if (escape_whitespaces) return absl::OkStatus();
  return absl::UnimplementedError("escape_whitespaces = false is not supported");
}

absl::Status ReadDenormalizerSpec(const WireField& message) {
  std::string charsmap;
  RETURN_IF_ERROR(ForEachField(message.bytes, message.offset, [&](const WireField& field) {
    return field.number == 2 ? Take(field, "precompiled_charsmap", &charsmap) : absl::OkStatus();
  }));
  if (charsmap.empty()) return absl::OkStatus();
  return absl::UnimplementedError("precompiled_charsmap is not supported here");
}

absl::Status ReadField(const WireField& field, Model* model) {
  if (field.number < 1 || field.number > 5 || field.number == 4) return absl::OkStatus();
  constexpr std::string_view kNames[] = {"pieces", "trainer_spec", "normalizer_spec", "",
                                         "denormalizer_spec"};
  std::string what(kNames[field.number - 1]);
  if (field.type != WireField::Type::kBytes) return WrongType(field, what);
  absl::Status read;
  switch (field.number) {
    case 1:
      what = fmt::format("pieces[{}]", model->pieces.size());
      read = ReadPiece(field, model);
      break;
    case 2:
      read = ReadTrainerSpec(field, model);
      break;
    case 3:
      read = ReadNormalizerSpec(field, model);
      break;
    default:
      read = ReadDenormalizerSpec(field);
      break;
  }
  return read.ok() ? read : Annotate(read, what);
}

// Pieces that text may hold, and those that it never holds, are two vocabularies: a control piece
// may be spelled like a normal one.
absl::Status CheckPieces(Model* model) {
  absl::flat_hash_set<absl::string_view> matching, reserved;
  int bytes = 0;
  for (size_t i = 0; i < model->pieces.size(); ++i) {
    const Model::Piece& piece = model->pieces[i];
    const bool matches = piece.type == PieceType::kNormal ||
                         piece.type == PieceType::kUserDefined || piece.type == PieceType::kUnused;
    if (!(matches ? matching : reserved).insert(piece.text).second) {
      return absl::InvalidArgumentError(
          fmt::format("pieces[{}]: '{}' is there already", i, piece.text));
    }
    bytes += piece.type == PieceType::kByte ? 1 : 0;
    if (piece.type != PieceType::kUnknown) continue;
    if (model->unknown >= 0) {
      return absl::InvalidArgumentError(
          fmt::format("pieces[{}] and pieces[{}] are both the unknown piece", model->unknown, i));
    }
    model->unknown = static_cast<int32_t>(i);
  }
  if (model->unknown < 0) return absl::InvalidArgumentError("no piece is the unknown one");
  if (bytes == (model->byte_fallback ? 256 : 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("byte_fallback is {}, but there are {} byte pieces",
                                                model->byte_fallback, bytes));
}

int HexDigit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

}  // namespace

int BytePieceValue(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = HexDigit(piece[3]), low = HexDigit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view file) {
  Model model;
  RETURN_IF_ERROR(ForEachField(file, 0, [&](const WireField& field) -> absl::Status {
    if (model.pieces.size() > static_cast<size_t>(kMaxTokenId)) {
      return absl::InvalidArgumentError(fmt::format("more than {} pieces", kMaxTokenId));
    }
    return ReadField(field, &model);
  }));
  RETURN_IF_ERROR(CheckPieces(&model));
  return model;
}

}  // namespace tessera
