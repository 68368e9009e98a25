// Metaspace of the tokenizers library: spaces written as U+2581, perhaps one put in front, and
// perhaps text cut before each of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/piece_model.h"
#include "engine/tokenizer/segmenter.h"

namespace tessera {

struct Metaspace {
  enum class Prepend {
    kNever,
    kFirst,   // to the text's beginning
    kAlways,  // to each part between added tokens
  };          // and never to what begins with a space

  Prepend prepend = Prepend::kAlways;
  bool split = true;

  std::string Escape(const TextPart& part) const;

  // The pieces of escaped text: each but the first begins with a space.
  std::vector<std::string_view> Split(std::string_view escaped) const;
};

// Gives text to a model as it is, or as a Metaspace leaves it.
class PieceSegmenter : public Segmenter {
 public:
  PieceSegmenter(std::optional<Metaspace> metaspace, std::unique_ptr<PieceModel> model)
      : metaspace_(metaspace), model_(std::move(model)) {}

  void Segment(const TextPart& part, std::vector<int32_t>* ids) const override;

 private:
  std::optional<Metaspace> metaspace_;
  std::unique_ptr<PieceModel> model_;
};

}  // namespace tessera
