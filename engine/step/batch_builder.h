// A step's plan → the flat arrays of one forward pass.
#pragma once

#include <span>
#include <vector>

#include "engine/model/batch.h"
#include "engine/model/image_features.h"
#include "engine/schedule/scheduler.h"

namespace tessera {

// What a batch needs of a request beside its sequence.
struct SequenceInput {
  // of the prompt's images; null while nobody needs their rows
  std::span<const ImageFeaturesPtr> images;
  uint64_t router_seed = 0;
};

struct BuiltBatch {
  Batch batch;
  std::vector<Ticket> sampling;          // whose logits are batch.logit_rows, in order
  std::vector<bool> image_row;           // [T]
  std::vector<ImageFeaturesPtr> images;  // that the batch reads
};

// `inputs`: one for each of `plan.rows`; REQUIRES: the images of the planned image rows are at
// hand. `position_axes`: the model's, see DecoderSpec. `with_router_seeds`: for
// RouterMode::kGumbel.
BuiltBatch BuildBatch(const StepPlan& plan, std::span<const SequenceInput> inputs,
                      int32_t block_size, int position_axes, bool with_router_seeds);

}  // namespace tessera
