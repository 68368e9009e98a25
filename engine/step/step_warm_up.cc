// The step loop's first work, for nobody: what is slow once is slow here.
#include <algorithm>

#include "engine/base/status.h"
#include "engine/step/step_loop.h"

namespace tessera {
namespace {

// Of the encoder's own size, or one that is common where it takes any.
PreparedImage BlankImage(const VisionSpec& vision) {
  PreparedImage blank;
  blank.grid = {vision.grid(), vision.grid()};
  if (vision.native) blank.grid = {16 * vision.native->merge, 16 * vision.native->merge};
  const int64_t patches =
      vision.native ? blank.grid.patches() : int64_t{vision.views()} * vision.patches();
  blank.patches.resize(static_cast<size_t>(patches) * 3 * vision.frames() * vision.patch_size *
                       vision.patch_size);
  return blank;
}

}  // namespace

absl::Status StepLoop::WarmUp() {
  const int32_t rows =
      std::min({kMinPrefillRows, scheduler_.capacity_rows(), model_.info.max_context});
  executor_->ForwardBlank(rows);
  budget_.LearnForward(1, 0, executor_->ForwardBlank(1));
  budget_.LearnForward(0, rows, executor_->ForwardBlank(rows));
  if (model_.vision != nullptr) {
    const PreparedImage blank = BlankImage(model_.vision->spec());
    const PreparedImage* const images[] = {&blank};
    ASSIGN_OR_RETURN(VisionBatch work, model_.vision->Begin(vision_backend_, images));
    while (work.next_layer == 0 && !model_.vision->Done(work)) {
      RETURN_IF_ERROR(model_.vision->Advance(vision_backend_, work, 0).status());
    }
    vision_backend_.ResetArena();
  }
  return absl::OkStatus();
}

}  // namespace tessera
