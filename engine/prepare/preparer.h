// The input stage: a request's texts and images → rows of token ids and patches. Pure functions
// of the request and the model's formats; used by any number of threads at once.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/request.h"
#include "engine/image/image.h"
#include "engine/prepare/image_preparer.h"
#include "engine/prompt/prepared_prompt.h"
#include "engine/prompt/prompt_template.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {

struct InputLimits {
  int32_t max_images = 16;
  ImageLimits image;
  int32_t max_context = 0;
  // rows of an image whose size is free, at most; 0: the model's own limit
  int32_t max_image_tokens = 0;
  int32_t vocabulary = 0;  // ids below it have a row in the model; 0: all of the tokenizer's
  int64_t max_work = 3 * ImageLimits().max_work;  // of a request's images (ImageHeader::work)
};

// All that counts and the headers of images tell of a request.
struct PromptPlan {
  PreparedPrompt prompt;  // without its images
  std::vector<ImagePlan> images;

  int64_t patch_bytes() const;      // of all images
  int64_t transient_bytes() const;  // beside them, while one image is made after the other
};

class Preparer {
 public:
  // `tokenizer` must outlive this.
  Preparer(const Tokenizer& tokenizer, PromptFormat format, const ImageFormat& images,
           const InputLimits& limits);

  // What can be refused without decoding or tokenizing: counts, sizes, UTF-8. INVALID_ARGUMENT
  // names the field.
  absl::Status Check(const Request& request) const;
  // Nothing is decoded. REQUIRES: Check() passed.
  absl::StatusOr<PromptPlan> Plan(const Request& request) const;
  // The patches of image `index` of the plan. CANCELLED once `cancellation` asks for it.
  absl::StatusOr<PreparedImage> PrepareImage(const Request& request, const PromptPlan& plan,
                                             size_t index, const Cancellation& cancellation) const;
  // Plan() and the patches of all images.
  absl::StatusOr<PreparedPrompt> Prepare(const Request& request) const;

 private:
  using Plans = std::vector<ImagePlan>;

  absl::StatusOr<Plans> PlanImages(const Request& request) const;
  absl::StatusOr<std::vector<int32_t>> TokenIds(const Request& request, const Plans& plans) const;
  std::vector<int32_t> Encode(const Prompt& prompt) const;
  absl::StatusOr<std::vector<int32_t>> WithPlaceholders(const TokenPrompt& prompt,
                                                        const Plans& plans) const;
  absl::Status CheckTokenIds(const TokenPrompt& prompt) const;
  absl::Status CheckRows(const Request& request, const std::vector<int32_t>& ids) const;
  PreparedPrompt Expand(std::vector<int32_t> ids, const Plans& plans) const;

  const Tokenizer& tokenizer_;
  PromptFormat format_;
  ImagePreparer images_;
  InputLimits limits_;
  int64_t max_text_bytes_ = 0;  // more can only be over the context
};

// The request's images in the order of the prompt, with the field each stands in.
struct PlacedImage {
  const EncodedImage* image = nullptr;
  std::string field;
};
std::vector<PlacedImage> ImagesOf(const Input& input);

// Bytes of texts, ids and encoded images.
int64_t InputBytes(const Input& input);

}  // namespace tessera
