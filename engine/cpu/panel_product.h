// Matrix products in float32 with weights kept as float32 or float16: y = act(x Wᵀ + b). For
// processors without AVX-512, where oneDNN 2.6.3 has only kernels that give a row other last bits
// when other rows are beside it, and for float16, which it does not have. Here every element is
// chains of multiply-adds (block_multiply.h) whose order does not depend on the other rows.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/cpu/aligned_memory.h"

namespace tessera {

// One [out, in] weight as panels [out / 16][in][16], the last filled with zeros.
struct PanelMatrix {
  int64_t in = 0;
  int64_t out = 0;
  DType dtype = DType::kFloat32;
  AlignedMemory panels;
};

// `dtype` float32 or float16.
absl::StatusOr<PanelMatrix> PackPanels(const LinearWeights& source, DType dtype, int threads);

// Rows [begin, begin + rows) of x and y belong to one matrix.
struct PanelGroup {
  const PanelMatrix* matrix = nullptr;
  const float* bias = nullptr;  // [out]
  int64_t begin = 0;
  int64_t rows = 0;
};

// x float32 [n, in] → y [n, out] of float32 or float16. All matrices have the same shape.
void RunPanels(std::span<const PanelGroup> groups, Tensor x, Activation activation, Tensor y,
               int threads);

}  // namespace tessera
