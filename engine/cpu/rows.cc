// Operations that treat every row by itself: lookups, norms, gated activation.
#include <cmath>
#include <cstring>

#include "engine/base/check.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

constexpr int64_t kGrain = 8;  // rows per work item

char* Row(Tensor x, int64_t row) {
  return x.as<char>() + static_cast<size_t>(row * x.cols()) * DTypeBytes(x.dtype);
}

size_t RowBytes(Tensor x) { return x.cols() * DTypeBytes(x.dtype); }

int64_t CheckedRow(Tensor x, Tensor places, int64_t i) {
  const int64_t row = places.as<int32_t>()[i];
  TESSERA_CHECK(row >= 0 && row < x.rows());
  return row;
}

// x += branch of `cols` elements, through float32 scratch [2 · cols].
void AddRow(char* x, const char* branch, DType dtype, int64_t cols, float* scratch) {
  rows::Widen(x, dtype, cols, scratch);
  rows::Widen(branch, dtype, cols, scratch + cols);
  rows::Add(scratch + cols, cols, scratch);
  rows::Narrow(scratch, dtype, cols, x);
}

}  // namespace

void CpuBackend::MapRows(Tensor x, Tensor y, double cost,
                         const std::function<void(int64_t, float*)>& f) {
  const int64_t cols = x.cols();
  float* scratch = arena_.New<float>(threads_ * cols);
  ParallelSpans(threads_, x.rows(), kGrain, cost * x.elements(),
                [&](int64_t begin, int64_t end, int thread) {
                  float* values = scratch + thread * cols;
                  for (int64_t row = begin; row < end; ++row) {
                    rows::Widen(Row(x, row), x.dtype, cols, values);
                    f(row, values);
                    rows::Narrow(values, y.dtype, y.cols(), Row(y, row));
                  }
                });
}

void CpuBackend::DoEmbed(Tensor table, Tensor ids, Tensor sampled, Tensor y) {
  const Tensor rows = New(DType::kInt32, {ids.elements()});
  const int64_t limit = sampled.empty() ? 0 : sampled.elements();
  for (int64_t i = 0; i < ids.elements(); ++i) {
    const int64_t id = ids.as<int32_t>()[i];
    TESSERA_CHECK(-1 - id < limit);
    rows.as<int32_t>()[i] = static_cast<int32_t>(id < 0 ? sampled.as<int32_t>()[-1 - id] : id);
  }
  DoGatherRows(table, rows, y);
}

void CpuBackend::DoGatherRows(Tensor x, Tensor rows, Tensor y) {
  for (int64_t i = 0; i < rows.elements(); ++i) {
    std::memcpy(Row(y, i), Row(x, CheckedRow(x, rows, i)), RowBytes(x));
  }
}

void CpuBackend::DoPutRows(Tensor x, Tensor source, Tensor rows) {
  for (int64_t i = 0; i < rows.elements(); ++i) {
    std::memcpy(Row(x, CheckedRow(x, rows, i)), Row(source, i), RowBytes(x));
  }
}

void CpuBackend::DoAddRows(Tensor x, Tensor source, Tensor rows) {
  const int64_t cols = x.cols();
  float* values = arena_.New<float>(2 * cols);
  for (int64_t i = 0; i < rows.elements(); ++i) {
    AddRow(Row(x, CheckedRow(x, rows, i)), Row(source, i), x.dtype, cols, values);
  }
}

void CpuBackend::DoWeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y) {
  const int64_t terms = rows.cols();
  const int64_t hidden = x.cols();
  float* scratch = arena_.New<float>(2 * threads_ * hidden);
  ParallelSpans(threads_, y.rows(), 8, 2.0 * static_cast<double>(rows.elements() * hidden),
                [&](int64_t begin, int64_t end, int thread) {
                  float* sum = scratch + 2 * thread * hidden;
                  float* widened = sum + hidden;
                  for (int64_t t = begin; t < end; ++t) {
                    std::fill_n(sum, hidden, 0.0f);
                    for (int64_t j = t * terms; j < (t + 1) * terms; ++j) {
                      rows::AddScaled(x.Rows(rows.as<int32_t>()[j], 1).data, x.dtype,
                                      weights.as<float>()[j], hidden, widened, sum);
                    }
                    rows::Narrow(sum, y.dtype, hidden, y.Rows(t, 1).data);
                  }
                });
}

void CpuBackend::DoGatedActivate(Tensor x, Activation activation, Tensor y) {
  const int64_t ffn = y.cols();
  MapRows(x, y, 8, [&](int64_t, float* values) {
    rows::GatedActivate(activation, values + ffn, ffn, values);
  });
}

void CpuBackend::DoArgMax(Tensor x, int64_t columns, const Largest& largest) {
  ParallelFor(threads_, x.rows(), 2.0 * x.elements(), [&](int64_t row, int) {
    const float* values = x.as<float>() + row * x.cols();
    int64_t best = 0;
    for (int64_t i = 1; i < columns && !std::isnan(values[best]); ++i) {
      if (!(values[i] <= values[best])) best = i;
    }
    largest.places.as<int32_t>()[row] = static_cast<int32_t>(best);
    largest.values.as<float>()[row] = values[best];
  });
}

void CpuBackend::DoSampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                                std::span<const LogitAdjustment> adjustments, Tensor places) {
  const auto row = [&](int64_t i) { return x.as<float>() + i * x.cols(); };
  for (const LogitAdjustment& adjustment : adjustments)
    row(adjustment.row)[adjustment.id] = adjustment.Adjusted(row(adjustment.row)[adjustment.id]);
  ParallelFor(threads_, x.rows(), 100.0 * x.elements(), [&](int64_t i, int) {
    places.as<int32_t>()[i] =
        SampleToken({row(i), static_cast<size_t>(columns)}, samples[static_cast<size_t>(i)]);
  });
}

void CpuBackend::DoNorm(Tensor x, const NormWeights& norm, Tensor y) {
  MapRows(x, y, 6, [&](int64_t, float* values) {
    rows::Norm(norm.kind, norm.epsilon, norm.weight.as<float>(), norm.bias.as<float>(), x.cols(),
               values);
  });
}

void CpuBackend::DoAdd(Tensor x, Tensor branch) {
  const int64_t cols = x.cols();
  float* scratch = arena_.New<float>(2 * threads_ * cols);
  ParallelSpans(threads_, x.rows(), kGrain, 2.0 * x.elements(),
                [&](int64_t begin, int64_t end, int thread) {
                  float* values = scratch + 2 * thread * cols;
                  for (int64_t row = begin; row < end; ++row) {
                    AddRow(Row(x, row), Row(branch, row), x.dtype, cols, values);
                  }
                });
}

void CpuBackend::DoScaleRows(Tensor x, Tensor factors) {
  MapRows(x, x, 1, [&](int64_t row, float* values) {
    rows::Scale(factors.as<float>()[row], x.cols(), values);
  });
}

void CpuBackend::DoAddNorm(Tensor x, std::span<const ResidualBranch> given, const NormWeights& norm,
                           float scale, Tensor y) {
  std::vector<Tensor> branches;
  for (const ResidualBranch& branch : given) {
    branches.push_back(branch.routed()
                           ? WeightedSum(branch.rows, branch.routing.places, branch.routing.weights)
                           : branch.rows);
  }
  const int64_t cols = x.cols();
  float* scratch = arena_.New<float>(2 * threads_ * cols);
  ParallelSpans(
      threads_, x.rows(), kGrain, 8.0 * x.elements(), [&](int64_t begin, int64_t end, int thread) {
        float* values = scratch + 2 * thread * cols;
        float* delta_values = values + cols;
        for (int64_t row = begin; row < end; ++row) {
          rows::Widen(Row(x, row), x.dtype, cols, values);
          for (const Tensor& branch : branches) {
            rows::Widen(Row(branch, row), branch.dtype, cols, delta_values);
            rows::AddScaled(delta_values, scale, cols, values);
          }
          rows::Narrow(values, x.dtype, cols, Row(x, row));
          rows::Widen(Row(x, row), x.dtype, cols, values);  // the norm is of the rounded sum
          rows::Norm(norm.kind, norm.epsilon, norm.weight.as<float>(), norm.bias.as<float>(), cols,
                     values);
          rows::Narrow(values, y.dtype, cols, Row(y, row));
        }
      });
}

}  // namespace tessera
