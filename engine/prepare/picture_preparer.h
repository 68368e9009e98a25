// From a picture's file to the patches that the vision encoder takes, in two steps: what it will
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

// How the model takes pictures.
struct PictureFormat {
  bool taken = false;  // the model takes pictures
  ImageProcessor processor;
  ImageMode mode =
      ImageMode::kPad;  // unless a request says otherwise; for pictures that become square
  int patch_size = 14;
  std::vector<int> scales = {
      1};                // in which the encoder sees it; the last one is the processor's size
  int rows = 0;          // that a square picture takes in the language model
  bool upright = false;  // turned as the file's orientation tag says (TurnUpright)
  std::optional<NativeSize> native;  // pictures keep their shape; none: all become square
  std::optional<int32_t>
      token;  // stands for pictures among token ids; none: prompts are cut at pictures
};

// What a picture takes, before it is decoded.
struct PicturePlan {
  ImageHeader header;
  int orientation = 1;   // by which the decoded picture is turned (TurnUpright)
  int32_t rows = 0;      // in the language model
  PatchGrid grid;        // of one view
  PatchGrid tokens;      // rows in their lines and columns, for pictures that keep their shape
  bool reduced = false;  // smaller than the model would have it, to cost no more than was asked for
  int64_t patch_bytes = 0;      // of PreparedImage::patches
  int64_t transient_bytes = 0;  // beside them, at most, while they are made
};

class PicturePreparer {
 public:
  // `max_tokens`: of a picture that keeps its shape; 0: as the model says.
  PicturePreparer(const PictureFormat& format, const ImageLimits& limits, int32_t max_tokens)
      : format_(format), limits_(limits), max_tokens_(max_tokens) {}

  const PictureFormat& format() const { return format_; }
  // Reads the file's header. `max_tokens`: the request's own limit.
  absl::StatusOr<PicturePlan> Plan(const EncodedImage& image,
                                   std::optional<int32_t> max_tokens) const;
  // `mode` is for pictures that become square. CANCELLED once `cancellation` asks for it.
  absl::StatusOr<PreparedImage> Prepare(const EncodedImage& image, const PicturePlan& plan,
                                        ImageMode mode, const Cancellation& cancellation) const;

 private:
  absl::Status PlanShape(std::optional<int32_t> max_tokens, PicturePlan& plan) const;
  void PlanMemory(PicturePlan& plan) const;
  absl::StatusOr<Image> Fitted(const EncodedImage& image, const PicturePlan& plan, ImageMode mode,
                               const Cancellation& cancellation) const;

  PictureFormat format_;
  ImageLimits limits_;
  int32_t max_tokens_;
};

}  // namespace tessera
