// The step loop's first work, for nobody: what is slow once is slow here.
#include <algorithm>
#include <numeric>

#include "engine/base/status.h"
#include "engine/step/step_loop.h"

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

// Computes a prompt of so many rows in the first blocks of the cache and throws it away. Seconds until the device has done it.
double StepLoop::ForwardBlank(int32_t rows) {
  Batch batch;
  batch.ids.assign(static_cast<size_t>(rows), 0);
  for (int axis = 0; axis < model_.spec.decoder.position_axes(); ++axis) {
    for (int32_t row = 0; row < rows; ++row) batch.positions.push_back(row);
  }
  batch.slots.resize(static_cast<size_t>(rows));
  std::iota(batch.slots.begin(), batch.slots.end(), 0);
  batch.query_starts = {0, rows};
  batch.context_lengths = {rows};
  batch.max_blocks = (rows + options_.block_size - 1) / options_.block_size;
  batch.block_tables.resize(static_cast<size_t>(batch.max_blocks));
  std::iota(batch.block_tables.begin(), batch.block_tables.end(), 0);
  batch.prompt_rows = {rows};
  batch.pictured = {false};
  batch.logit_rows = {rows - 1};
  if (model_options_.router == RouterMode::kGumbel) {
    batch.router_seeds.assign(batch.ids.size(), 0);
    batch.router_rows = batch.slots;
  }
  batch.drawn = drawn_->tensor();
  const Clock::time_point begin = Clock::now();
  const DecoderOutput output = model_.decoder->Forward(batch, *cache_, nullptr);
  backend_.DownloadFloats(output.logits);
  const double seconds = Seconds(Clock::now() - begin);
  backend_.ResetArena();
  return seconds;
}

absl::Status StepLoop::WarmUp() {
  const auto rows = static_cast<int32_t>(
      std::min({int64_t{kLeastPrefillRows}, cache_->blocks() * options_.block_size,
                int64_t{model_.info.max_context}}));
  ForwardBlank(rows);
  pace_.LearnForward(1, 0, ForwardBlank(1));
  pace_.LearnForward(0, rows, ForwardBlank(rows));
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
