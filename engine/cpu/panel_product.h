// float32 matrix products without AVX-512: y = act(x Wᵀ + b). oneDNN 2.6.3 has there only kernels
// that give a row other last bits when other rows are beside it; here every element is one chain of
// multiply-adds (block_multiply.h).
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
  AlignedMemory panels;
};

absl::StatusOr<PanelMatrix> PackPanels(const LinearWeights& source, int threads);

// x float32 [rows, in] → y float32 [rows, out]; bias float32 [out].
void RunPanels(const PanelMatrix& matrix, const float* bias, Tensor x, Activation activation,
               Tensor y, int threads);

}  // namespace tessera
