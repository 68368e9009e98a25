// The input stage: a request's texts and pictures → rows of token ids and patches. Pure functions of the request and the model's
// formats; used by any number of threads at once.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/input/image.h"
#include "engine/input/image_processor.h"
#include "engine/input/prepared.h"
#include "engine/input/prompt_template.h"
#include "engine/input/tokenizer.h"
#include "engine/request.h"

namespace tessera {

// How the model takes pictures.
struct PictureFormat {
  ImageProcessor processor;
  ImageMode mode = ImageMode::kPad;  // unless a request says otherwise
  int patch_size = 14;
  std::vector<int> scales = {1};  // in which the encoder sees it; the last one is the processor's size
  int rows = 0;  // that a picture takes in the language model; 0: the model takes none
  std::optional<int32_t> token;  // stands for pictures among token ids; none: prompts are cut at pictures
};

struct InputLimits {
  int32_t max_images = 16;
  ImageLimits image;
  int32_t max_context = 0;
};

class Preparer {
 public:
  // `tokenizer` must outlive this.
  Preparer(const Tokenizer& tokenizer, PromptFormat format, const PictureFormat& pictures,
           const InputLimits& limits);

  // What can be refused without decoding or tokenizing: counts, sizes, UTF-8. INVALID_ARGUMENT names the field.
  absl::Status Check(const Request& request) const;
  // Token ids and rows; pictures are counted, not decoded. REQUIRES: Check() passed.
  absl::StatusOr<PreparedPrompt> Tokenize(const Request& request) const;
  // Tokenize() and the pictures' patches.
  absl::StatusOr<PreparedPrompt> Prepare(const Request& request) const;

 private:
  absl::StatusOr<std::vector<int32_t>> TokenIds(const Request& request) const;
  std::vector<int32_t> Encode(const Prompt& prompt) const;
  std::vector<int32_t> WithPlaceholders(const TokenPrompt& prompt) const;
  absl::Status CheckTokenIds(const TokenPrompt& prompt) const;
  absl::StatusOr<PreparedImage> PrepareImage(const EncodedImage& image, ImageMode mode) const;

  const Tokenizer& tokenizer_;
  PromptFormat format_;
  PictureFormat pictures_;
  InputLimits limits_;
  int64_t max_text_bytes_ = 0;  // more can only be over the context
};

// The request's pictures in the order of the prompt, with the field each stands in.
struct PlacedImage {
  const EncodedImage* image = nullptr;
  std::string field;
};
std::vector<PlacedImage> ImagesOf(const Input& input);

// Bytes of texts, ids and encoded pictures.
int64_t InputBytes(const Input& input);

}  // namespace tessera
