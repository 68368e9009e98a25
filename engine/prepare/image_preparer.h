// From an image's file to the patches that the vision encoder takes, in two steps: what it will
// cost, known from the file's header, and the patches themselves. Pure functions, used by any
// number of threads at once.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/request.h"
#include "engine/base/cancellation.h"
#include "engine/image/image.h"
#include "engine/image/image_processor.h"
#include "engine/image/native_size.h"
#include "engine/image/prepared_image.h"

namespace tessera {

// How the model takes images.
struct ImageFormat {
  bool taken = false;  // the model takes images
  ImageProcessor processor;
  ImageMode mode =
      ImageMode::kPad;  // unless a request says otherwise; for images that become square
  int patch_size = 14;
  std::vector<int> scales = {
      1};                // in which the encoder sees it; the last one is the processor's size
  int rows = 0;          // that a square image takes in the language model
  bool upright = false;  // turned as the file's orientation tag says (TurnUpright)
  std::optional<NativeSize> native;  // images keep their shape; none: all become square
  std::optional<int32_t>
      token;  // stands for images among token ids; none: prompts are cut at images
};

// What an image takes, before it is decoded.
struct ImagePlan {
  ImageHeader header;
  int orientation = 1;   // by which the decoded image is turned (TurnUpright)
  int32_t rows = 0;      // in the language model
  PatchGrid grid;        // of one view
  PatchGrid tokens;      // rows in their lines and columns, for images that keep their shape
  bool reduced = false;  // smaller than the model would have it, to cost no more than was asked for
  int64_t patch_bytes = 0;      // of PreparedImage::patches
  int64_t transient_bytes = 0;  // beside them, at most, while they are made
};

class ImagePreparer {
 public:
  // `max_tokens`: of an image that keeps its shape; 0: as the model says.
  ImagePreparer(const ImageFormat& format, const ImageLimits& limits, int32_t max_tokens)
      : format_(format), limits_(limits), max_tokens_(max_tokens) {}

  const ImageFormat& format() const { return format_; }
  // Reads the file's header. `max_tokens`: the request's own limit.
  absl::StatusOr<ImagePlan> Plan(const EncodedImage& image,
                                 std::optional<int32_t> max_tokens) const;
  // `mode` is for images that become square. CANCELLED once `cancellation` asks for it.
  absl::StatusOr<PreparedImage> Prepare(const EncodedImage& image, const ImagePlan& plan,
                                        ImageMode mode, const Cancellation& cancellation) const;

 private:
  absl::Status PlanShape(std::optional<int32_t> max_tokens, ImagePlan& plan) const;
  void PlanMemory(ImagePlan& plan) const;
  absl::StatusOr<Image> Fitted(const EncodedImage& image, const ImagePlan& plan, ImageMode mode,
                               const Cancellation& cancellation) const;

  ImageFormat format_;
  ImageLimits limits_;
  int32_t max_tokens_;
};

}  // namespace tessera
