// Rows of host matrices as packing takes them, whatever dtype and order they are stored in.
#pragma once

#include "engine/backend/tensor.h"

namespace tessera {

// Row `row` of a matrix [out, in] → y [in] of `dtype`; `wide` float32 [in] is scratch. Rows of a
// transposed matrix are gathered: the caller takes neighbouring ones after one another, which share
// cache lines.
void CopyWeightRow(const HostTensor& matrix, int64_t row, DType dtype, float* wide, void* y);

}  // namespace tessera
