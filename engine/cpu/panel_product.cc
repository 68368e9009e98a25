#include "engine/cpu/panel_product.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/block_multiply.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr int64_t kPanel = 32;   // columns
constexpr int64_t kRows = 48;    // of x, for one turn of a panel
constexpr int64_t kDepth = 256;  // terms of a chain; the chains' sums are added in order, which
                                 // rounds less than one long chain

// One row of a weight into its column of a panel.
template <typename T>
void PutColumn(const T* row, int64_t in, T* column) {
  for (int64_t k = 0; k < in; ++k) column[k * kPanel] = row[k];
}

}  // namespace

absl::StatusOr<PanelMatrix> PackPanels(const LinearWeights& source, DType dtype, int threads) {
  PanelMatrix matrix;
  matrix.in = source.weights[0].dims[1];
  matrix.dtype = dtype;
  const int64_t in = matrix.in;
  const auto element = static_cast<int64_t>(DTypeBytes(dtype));
  for (const HostTensor& weight : source.weights) matrix.out += weight.dims[0];
  const int64_t count = (matrix.out + kPanel - 1) / kPanel;
  ASSIGN_OR_RETURN(matrix.panels, AlignedMemory::Allocate(count * in * kPanel * element));
  ASSIGN_OR_RETURN(AlignedMemory scratch,
                   AlignedMemory::Allocate(threads * 2 * in * sizeof(float)));
  auto* panels = static_cast<char*>(matrix.panels.data());
  std::memset(panels, 0, matrix.panels.bytes());
  int64_t first = 0;
  for (const HostTensor& weight : source.weights) {
    const auto pack_row = [&](int64_t i, int thread) {
      float* wide = static_cast<float*>(scratch.data()) + thread * 2 * in;
      float* row = wide + in;
      CopyWeightRow(weight, i, dtype, wide, row);
      const int64_t column = first + i;
      char* to = panels + (column / kPanel * in * kPanel + column % kPanel) * element;
      if (dtype == DType::kFloat32) {
        PutColumn(row, in, reinterpret_cast<float*>(to));
      } else {
        PutColumn(reinterpret_cast<const uint16_t*>(row), in, reinterpret_cast<uint16_t*>(to));
      }
    };
    ParallelSpans(threads, weight.dims[0], kPanel, weight.elements(),
                  [&](int64_t begin, int64_t end, int thread) {
                    for (int64_t i = begin; i < end; ++i) pack_row(i, thread);
                  });
    first += weight.dims[0];
  }
  return matrix;
}

void RunPanels(const PanelMatrix& matrix, const float* bias, Tensor x, Activation activation,
               Tensor y, int threads) {
  const int64_t panels = (matrix.out + kPanel - 1) / kPanel;
  const int64_t turns = (x.rows() + kRows - 1) / kRows;
  const auto element = static_cast<int64_t>(DTypeBytes(matrix.dtype));
  const double work = 2.0 * x.rows() * matrix.in * matrix.out;
  ParallelFor(threads, panels * turns, work, [&](int64_t item, int) {
    alignas(64) float sums[kRows * kPanel] = {};
    const int64_t row = item / panels * kRows;
    const int64_t column = item % panels * kPanel;
    const int64_t count = std::min(kRows, x.rows() - row);
    const int64_t cols = std::min(kPanel, matrix.out - column);
    const auto* panel =
        static_cast<const char*>(matrix.panels.data()) + column * matrix.in * element;
    for (int64_t k = 0; k < matrix.in; k += kDepth) {
      alignas(64) float widened[kDepth * kPanel];
      alignas(64) float chain[kRows * kPanel];
      const int64_t depth = std::min(kDepth, matrix.in - k);
      const float* part = reinterpret_cast<const float*>(panel + k * kPanel * element);
      if (matrix.dtype != DType::kFloat32) {
        rows::Widen(part, matrix.dtype, depth * kPanel, widened);
        part = widened;
      }
      std::fill_n(chain, count * kPanel, 0.0f);
      MultiplyAdd(count, x.as<float>() + row * matrix.in + k, matrix.in, depth, part, kPanel,
                  kPanel, chain, kPanel);
      rows::Add(chain, count * kPanel, sums);
    }
    rows::AddToEach(bias + column, cols, count, kPanel, sums);
    rows::Activate(activation, count * kPanel, sums);
    rows::NarrowEach(sums, kPanel, count, cols, y.dtype, matrix.out,
                     y.as<char>() + (row * matrix.out + column) * DTypeBytes(y.dtype));
  });
}

}  // namespace tessera
