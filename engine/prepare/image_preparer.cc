#include "engine/prepare/image_preparer.h"

#include <algorithm>
#include <utility>

#include "engine/base/sha256.h"
#include "engine/base/status.h"
#include "engine/image/orientation.h"
#include "engine/image/resize.h"
#include "engine/image/views.h"

namespace tessera {

absl::StatusOr<ImagePlan> ImagePreparer::Plan(const EncodedImage& image,
                                              std::optional<int32_t> max_tokens) const {
  ImagePlan plan;
  ASSIGN_OR_RETURN(plan.header, ReadImageHeader(image.bytes, image.mime_type, limits_));
  if (format_.upright) plan.orientation = ReadOrientation(image.bytes);
  if (format_.native) {
    RETURN_IF_ERROR(PlanShape(max_tokens, plan));
  } else {
    const int side = format_.processor.size / format_.scales.back() / format_.patch_size;
    plan.rows = format_.rows;
    plan.grid = {side, side};
  }
  PlanMemory(plan);
  return plan;
}

absl::Status ImagePreparer::PlanShape(std::optional<int32_t> max_tokens, ImagePlan& plan) const {
  const ImageSize found = UprightSize({plan.header.width, plan.header.height}, plan.orientation);
  ASSIGN_OR_RETURN(plan.grid, FitGrid(found.width, found.height, *format_.native));
  NativeSize bounded = *format_.native;
  for (const int64_t tokens : {int64_t{max_tokens_}, int64_t{max_tokens.value_or(0)}}) {
    if (tokens == 0) continue;
    bounded.max_pixels = std::min(bounded.max_pixels, tokens * bounded.window_pixels());
  }
  bounded.min_pixels = std::min(bounded.min_pixels, bounded.max_pixels);
  ASSIGN_OR_RETURN(const PatchGrid grid, FitGrid(found.width, found.height, bounded));
  plan.reduced = grid.patches() < plan.grid.patches();
  plan.grid = grid;
  const int merge = bounded.merge;
  plan.tokens = {grid.rows / merge, grid.cols / merge};
  plan.rows = static_cast<int32_t>(plan.tokens.patches());
  return absl::OkStatus();
}

void ImagePreparer::PlanMemory(ImagePlan& plan) const {
  const int64_t patch = format_.patch_size;
  int64_t width = plan.grid.cols * patch;
  int64_t seen = width * plan.grid.rows * patch;  // pixels in all views
  int64_t fitted = seen;
  int64_t copies = 1;  // of the fitted image in floating point
  if (format_.native) {
    seen *= format_.native->frames;
  } else {
    width = format_.processor.size;
    fitted = width * width;
    const int64_t view = seen;
    seen = 0;
    for (const int64_t scale : format_.scales) seen += scale * scale * view;
    if (format_.scales.size() > 1) copies = 3;  // itself, resized, and half resized
  }
  constexpr int64_t kColours = 3;
  constexpr int64_t kFloats = kColours * sizeof(float);
  plan.patch_bytes = kFloats * seen;
  const ImageSize upright = UprightSize({plan.header.width, plan.header.height}, plan.orientation);
  const int64_t turning = kColours * 2 * plan.header.pixels();
  const int64_t resizing = kColours * (plan.header.pixels() + width * upright.height + fitted);
  plan.transient_bytes = std::max({plan.header.decoding_bytes, plan.orientation == 1 ? 0 : turning,
                                   resizing, (kColours + copies * kFloats) * fitted});
}

absl::StatusOr<Image> ImagePreparer::Fitted(const EncodedImage& image, const ImagePlan& plan,
                                            ImageMode mode,
                                            const Cancellation& cancellation) const {
  ASSIGN_OR_RETURN(Image decoded, DecodeImage(image.bytes, image.mime_type, limits_, cancellation));
  decoded = TurnUpright(std::move(decoded), plan.orientation);
  const int patch = format_.patch_size;
  Image fitted = format_.native ? ResizeBicubic(decoded, plan.grid.cols * patch,
                                                plan.grid.rows * patch, cancellation)
                                : FitImage(decoded, format_.processor, mode, cancellation);
  if (cancellation.Requested()) return DecodingCancelled();
  return fitted;
}

absl::StatusOr<PreparedImage> ImagePreparer::Prepare(const EncodedImage& image,
                                                     const ImagePlan& plan, ImageMode mode,
                                                     const Cancellation& cancellation) const {
  ASSIGN_OR_RETURN(const Image fitted, Fitted(image, plan, mode, cancellation));
  PreparedImage prepared;
  prepared.rows = plan.rows;
  prepared.grid = plan.grid;
  Sha256Stream digest;
  digest.Add(&fitted.width, sizeof(fitted.width));
  digest.Add(&fitted.height, sizeof(fitted.height));
  digest.AddSpan(std::span<const uint8_t>(fitted.rgb));
  prepared.digest = digest.Finish();
  const std::vector<float> pixels = NormalizeImage(fitted, format_.processor);
  prepared.patches = format_.native
                         ? CutWindows(pixels, plan.grid, *format_.native)
                         : CutViews(pixels, fitted.width, format_.scales, format_.patch_size);
  return prepared;
}

}  // namespace tessera
