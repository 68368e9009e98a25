#include "engine/cpu/panel_product.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/block_multiply.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr int64_t kPanel = 32;   // columns
constexpr int64_t kRows = 48;    // of x, for one turn of a panel
constexpr int64_t kDepth = 256;  // terms of a chain; the chains' sums are added in order, which
                                 // rounds less than one long chain

}  // namespace

absl::StatusOr<PanelMatrix> PackPanels(const LinearWeights& source, int threads) {
  PanelMatrix matrix;
  matrix.in = source.weights[0].dims[1];
  for (const HostTensor& weight : source.weights) matrix.out += weight.dims[0];
  const int64_t count = (matrix.out + kPanel - 1) / kPanel;
  ASSIGN_OR_RETURN(matrix.panels,
                   AlignedMemory::Allocate(count * matrix.in * kPanel * sizeof(float)));
  ASSIGN_OR_RETURN(AlignedMemory scratch,
                   AlignedMemory::Allocate(threads * matrix.in * sizeof(float)));
  auto* panels = static_cast<float*>(matrix.panels.data());
  std::memset(panels, 0, matrix.panels.bytes());
  int64_t first = 0;
  for (const HostTensor& weight : source.weights) {
    const auto* data = static_cast<const char*>(weight.data);
    ParallelSpans(threads, weight.dims[0], kPanel, weight.elements(),
                  [&](int64_t begin, int64_t end, int thread) {
                    float* row = static_cast<float*>(scratch.data()) + thread * matrix.in;
                    for (int64_t i = begin; i < end; ++i) {
                      rows::Widen(data + i * matrix.in * DTypeBytes(weight.dtype), weight.dtype,
                                  matrix.in, row);
                      const int64_t column = first + i;
                      float* to = panels + column / kPanel * matrix.in * kPanel + column % kPanel;
                      for (int64_t k = 0; k < matrix.in; ++k) to[k * kPanel] = row[k];
                    }
                  });
    first += weight.dims[0];
  }
  return matrix;
}

void RunPanels(const PanelMatrix& matrix, const float* bias, Tensor x, Activation activation,
               Tensor y, int threads) {
  const int64_t panels = (matrix.out + kPanel - 1) / kPanel;
  const int64_t turns = (x.rows() + kRows - 1) / kRows;
  const double work = 2.0 * x.rows() * matrix.in * matrix.out;
  ParallelFor(threads, panels * turns, work, [&](int64_t item, int) {
    alignas(64) float sums[kRows * kPanel] = {};
    const int64_t row = item / panels * kRows;
    const int64_t column = item % panels * kPanel;
    const int64_t count = std::min(kRows, x.rows() - row);
    const int64_t cols = std::min(kPanel, matrix.out - column);
    const float* panel = static_cast<const float*>(matrix.panels.data()) + column * matrix.in;
    for (int64_t k = 0; k < matrix.in; k += kDepth) {
      alignas(64) float chain[kRows * kPanel];
      std::fill_n(chain, count * kPanel, 0.0f);
      MultiplyAdd(count, x.as<float>() + row * matrix.in + k, matrix.in,
                  std::min(kDepth, matrix.in - k), panel + k * kPanel, kPanel, kPanel, chain,
                  kPanel);
      rows::Add(chain, count * kPanel, sums);
    }
    rows::AddToEach(bias + column, cols, count, kPanel, sums);
    rows::Activate(activation, count * kPanel, sums);
    rows::NarrowEach(sums, kPanel, count, cols, DType::kFloat32, matrix.out,
                     y.as<float>() + row * matrix.out + column);
  });
}

}  // namespace tessera
