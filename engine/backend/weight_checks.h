// Whether weights as a checkpoint gives them fit together: INVALID_ARGUMENT saying which piece does
// not.
#pragma once

#include <utility>

#include "absl/status/statusor.h"
#include "engine/backend/weight_store.h"

namespace tessera {

bool IsFloat(DType dtype);

// The [out, in] of the one matrix to which the pieces stack.
absl::StatusOr<std::pair<int64_t, int64_t>> StackedDims(const LinearWeights& source);

// The rank of the matrices of expert `e`; `rank` is that of the experts before, 0 for none.
absl::StatusOr<int64_t> LoraRank(const LoraWeights& source, size_t e, int64_t rank);

}  // namespace tessera
