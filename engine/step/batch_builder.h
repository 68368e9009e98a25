// A step's plan → the flat arrays of one forward pass.
#pragma once

#include <vector>

#include "engine/model/batch.h"
#include "engine/request/live_request.h"
#include "engine/schedule/scheduler.h"

namespace tessera {

struct BuiltBatch {
  Batch batch;
  std::vector<LiveRequest*> sampling;  // whose logits are batch.logit_rows, in order
  std::vector<bool> image_row;         // [T]
};

// `position_axes`: the model's, see DecoderSpec. `with_router_seeds`: for RouterMode::kGumbel.
BuiltBatch BuildBatch(const StepPlan& plan, int32_t block_size, int position_axes,
                      bool with_router_seeds);

}  // namespace tessera
