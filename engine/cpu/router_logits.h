// Products of rows with a router, in float32.
#pragma once

#include <cstdint>

namespace tessera {

// logits[r · experts + e] = x[r] · router[e]; x [rows, hidden], router [experts, hidden]. A row
// gets the same bits whatever rows are beside it.
void RouterLogits(const float* x, int64_t rows, const float* router, int64_t experts,
                  int64_t hidden, float* logits);

}  // namespace tessera
