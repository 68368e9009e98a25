#include "engine/input/picture_preparer.h"

#include <algorithm>
#include <utility>

#include "engine/input/orientation.h"
#include "engine/input/resize.h"
#include "engine/input/views.h"
#include "engine/sha256.h"
#include "engine/status.h"

namespace tessera {

absl::StatusOr<PicturePlan> PicturePreparer::Plan(const EncodedImage& image,
                                                  std::optional<int32_t> max_tokens) const {
  PicturePlan plan;
  if (!format_.native) {
    const int side = format_.processor.size / format_.scales.back() / format_.patch_size;
    plan.rows = format_.rows;
    plan.grid = {side, side};
    return plan;
  }
  ASSIGN_OR_RETURN(ImageSize found, ReadImageSize(image.bytes, image.mime_type, limits_));
  if (format_.upright) found = UprightSize(found, ReadOrientation(image.bytes));
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
  return plan;
}

absl::StatusOr<PreparedImage> PicturePreparer::Prepare(const EncodedImage& image,
                                                       const PicturePlan& plan,
                                                       ImageMode mode) const {
  ASSIGN_OR_RETURN(Image decoded, DecodeImage(image.bytes, image.mime_type, limits_));
  if (format_.upright) decoded = TurnUpright(std::move(decoded), ReadOrientation(image.bytes));
  const int patch = format_.patch_size;
  const Image fitted = format_.native
                           ? ResizeBicubic(decoded, plan.grid.cols * patch, plan.grid.rows * patch)
                           : FitImage(decoded, format_.processor, mode);
  PreparedImage prepared;
  prepared.rows = plan.rows;
  prepared.grid = plan.grid;
  Sha256Stream digest;
  digest.Add(&fitted.width, sizeof(fitted.width));
  digest.Add(&fitted.height, sizeof(fitted.height));
  digest.AddSpan(std::span<const uint8_t>(fitted.rgb));
  prepared.digest = digest.Finish();
  const std::vector<float> pixels = NormalizeImage(fitted, format_.processor);
  prepared.patches = format_.native ? CutWindows(pixels, plan.grid, *format_.native)
                                    : CutViews(pixels, fitted.width, format_.scales, patch);
  return prepared;
}

}  // namespace tessera
