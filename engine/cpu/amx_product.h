// bfloat16 matrix products on Intel's AMX tiles: y = act(x Wᵀ + b), for one matrix or for a group
// of them (experts) at once.
//
// oneDNN's AMX kernels give a row other last bits when other rows are beside it (they split long
// inner dimensions by the number of rows). Here every element is one chain of tile products in the
// order of the inner dimension, started at zero, in float32; how rows and columns are cut into
// tiles cannot change it. Source of the instructions: Intel SDM vol. 1 chapter 18, TDPBF16PS.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/cpu/aligned_memory.h"

namespace tessera {

// Whether the processor has the tiles and the kernel lets this process use them. Asks the kernel
// for them.
bool AmxAvailable();

// One [out, in] weight as tiles: [out / 32][in / 32][2][16 pairs along in][16 columns][2], the
// edges filled with zeros.
struct AmxMatrix {
  int64_t in = 0;
  int64_t out = 0;
  AlignedMemory tiles;

  int64_t in_blocks() const { return (in + 31) / 32; }
  int64_t out_blocks() const { return (out + 31) / 32; }
};

absl::StatusOr<AmxMatrix> PackAmx(const LinearWeights& source, int threads);

// Rows [begin, begin + rows) of x and y belong to one matrix.
struct AmxGroup {
  const AmxMatrix* matrix = nullptr;
  const float* bias = nullptr;  // [out]
  int64_t begin = 0;
  int64_t rows = 0;
};

// x bfloat16 [n, in] → y [n, out], bfloat16 or float32. With `sources`, row i of the groups is row
// sources[i] of x. All matrices have the same shape.
void RunAmx(std::span<const AmxGroup> groups, Tensor x, const int32_t* sources,
            Activation activation, Tensor y, int threads, Arena& arena);

}  // namespace tessera
