// Matrix products in float32 with weights kept as float32 or float16: y = act(x Wᵀ + b). For
// processors without AVX-512, where oneDNN 2.6.3 has only kernels that give a row other last bits
// when other rows are beside it, and for float16, which it does not have. Here every element is
// chains of multiply-adds (block_multiply.h) whose order does not depend on the other rows.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/cpu/arena.h"

namespace tessera {

// One [out, in] weight as panels [out / 32][in][32], the last filled with zeros.
struct PanelMatrix {
  int64_t in = 0;
  int64_t out = 0;
  DType dtype = DType::kFloat32;
  AlignedMemory panels;
};

// `dtype` float32 or float16.
absl::StatusOr<PanelMatrix> PackPanels(const LinearWeights& source, DType dtype, int threads);

// x float32 [rows, in] → y [rows, out] of float32 or float16; bias float32 [out].
void RunPanels(const PanelMatrix& matrix, const float* bias, Tensor x, Activation activation,
               Tensor y, int threads);

}  // namespace tessera
