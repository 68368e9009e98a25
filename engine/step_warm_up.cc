// The step loop's first work, for nobody: what is slow once is slow here.
#include "engine/status.h"
#include "engine/step_loop.h"

namespace tessera {
namespace {

// Of the encoder's own size, or one that is common where it takes any.
PreparedImage BlankPicture(const VisionSpec& vision) {
  PreparedImage blank;
  blank.grid = {vision.grid(), vision.grid()};
  if (vision.native) blank.grid = {16 * vision.native->merge, 16 * vision.native->merge};
  const int64_t patches = vision.native ? blank.grid.patches() : int64_t{vision.views()} * vision.patches();
  blank.patches.resize(static_cast<size_t>(patches) * 3 * vision.frames() * vision.patch_size *
                       vision.patch_size);
  return blank;
}

}  // namespace

absl::Status StepLoop::WarmUp() {
  Batch batch;
  batch.ids = {0};
  batch.positions.assign(static_cast<size_t>(model_.spec.decoder.position_axes()), 0);
  batch.slots = {0};
  batch.query_starts = {0, 1};
  batch.context_lengths = {1};
  batch.block_tables = {0};
  batch.max_blocks = 1;
  batch.prompt_rows = {1};
  batch.pictured = {false};
  batch.logit_rows = {0};
  if (model_options_.router == RouterMode::kGumbel) {
    batch.router_seeds = {0};
    batch.router_rows = {0};
  }
  batch.drawn = drawn_->tensor();
  model_.decoder->Forward(batch, *cache_, nullptr);
  backend_.ResetArena();
  if (model_.vision != nullptr) {
    const PreparedImage blank = BlankPicture(model_.vision->spec());
    const PreparedImage* const pictures[] = {&blank};
    ASSIGN_OR_RETURN(VisionBatch work, model_.vision->Begin(pictures));
    while (work.next_layer == 0 && !model_.vision->Done(work)) {
      RETURN_IF_ERROR(model_.vision->Advance(work, 0).status());
    }
    model_.vision->backend().ResetArena();
  }
  return absl::OkStatus();
}

}  // namespace tessera
