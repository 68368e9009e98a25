#include "engine/cpu/panel_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/base/status.h"
#include "engine/cpu/block_multiply.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"

namespace tessera {
namespace {

constexpr int64_t kPanel = 16;   // columns
constexpr int64_t kRows = 192;   // of x, for one turn of a panel
constexpr int64_t kDepth = 128;  // terms of a chain; the chains' sums are added in order, which
                                 // rounds less than one long chain. A panel of so many takes half
                                 // of a first-level cache

// One row of a weight into its column of a panel.
template <typename T>
void PutColumn(const T* row, int64_t in, T* column) {
  for (int64_t k = 0; k < in; ++k) column[k * kPanel] = row[k];
}

// One panel with some rows of one group.
struct Item {
  const PanelGroup* group;
  int64_t row, rows, column;
};

void RunItem(const Item& item, Tensor x, Activation activation, Tensor y) {
  const PanelMatrix& matrix = *item.group->matrix;
  const auto element = static_cast<int64_t>(DTypeBytes(matrix.dtype));
  const int64_t cols = std::min(kPanel, matrix.out - item.column);
  const auto* panel =
      static_cast<const char*>(matrix.panels.data()) + item.column * matrix.in * element;
  alignas(64) float sums[kRows * kPanel];
  std::fill_n(sums, item.rows * kPanel, 0.0f);
  for (int64_t k = 0; k < matrix.in; k += kDepth) {
    alignas(64) float widened[kDepth * kPanel];
    const int64_t depth = std::min(kDepth, matrix.in - k);
    const char* next = panel + (k + depth) * kPanel * element;
    const float* part = reinterpret_cast<const float*>(panel + k * kPanel * element);
    if (matrix.dtype != DType::kFloat32) {
      rows::Widen(part, matrix.dtype, depth * kPanel, widened);
      part = widened;
    }
    MultiplyAdd(item.rows, x.as<float>() + item.row * matrix.in + k, matrix.in, depth, part, kPanel,
                kPanel, sums, kPanel, next);
  }
  rows::AddToEach(item.group->bias + item.column, cols, item.rows, kPanel, sums);
  rows::Activate(activation, item.rows * kPanel, sums);
  rows::NarrowEach(sums, kPanel, item.rows, cols, y.dtype, matrix.out,
                   y.as<char>() + (item.row * matrix.out + item.column) * DTypeBytes(y.dtype));
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

void RunPanels(std::span<const PanelGroup> groups, Tensor x, Activation activation, Tensor y,
               int threads) {
  std::vector<Item> items;
  double work = 0;
  for (const PanelGroup& group : groups) {
    for (int64_t r = 0; r < group.rows; r += kRows) {
      const int64_t rows = std::min(kRows, group.rows - r);
      for (int64_t column = 0; column < group.matrix->out; column += kPanel) {
        items.push_back({&group, group.begin + r, rows, column});
      }
    }
    work += 2.0 * group.rows * group.matrix->in * group.matrix->out;
  }
  // Neighbouring panels stay on one thread, which has begun to fetch the next.
  const auto count = static_cast<int64_t>(items.size());
  const int64_t grain = std::clamp<int64_t>(count / (8 * threads), 1, 16);
  ParallelSpans(threads, count, grain, work, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) RunItem(items[i], x, activation, y);
  });
}

}  // namespace tessera
