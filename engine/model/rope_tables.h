// The tables by which heads are rotated: cosine and sine of position · frequency, in float32 as the
// references compute them.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/weight_store.h"

namespace tessera {

// frequencies and axes: one per pair of dims; an axis is the row of positions that rotates the
// pair. `rope` lives in `keep`.
absl::Status LoadRopeTables(int64_t positions, const std::vector<float>& frequencies,
                            const std::vector<int32_t>& axes, WeightStore& store,
                            std::vector<std::unique_ptr<Buffer>>& keep, Rope& rope);

}  // namespace tessera
