// Dense layers with low-rank experts. The experts' columns stand behind those of the dense weight:
//
//   y = [x | g ⊙ (x Aᵀ)] · [W | B]ᵀ
//
// A stacks every expert's matrix of every piece, so the low-rank half is one thin product, a
// scaling of its columns by the rows' routing weights, and a few more terms in the sums of the
// dense product: no row is gathered, and y is written once.
#include <algorithm>
#include <cstring>

#include "engine/base/status.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"

namespace tessera {
namespace {

struct CpuLora : PackedLora {
  Matrix a;           // [pieces · experts · rank, in]
  Matrix base_and_b;  // [out, in + pieces · experts · rank], B of other pieces zero
  float scale = 1;
};

// [W | B] of all pieces as one dense matrix of `dtype`.
absl::StatusOr<AlignedMemory> Join(const LoraWeights& source, DType dtype, int64_t out, int64_t in,
                                   int64_t rank, int threads) {
  const auto pieces = static_cast<int64_t>(source.base.weights.size());
  const auto experts = static_cast<int64_t>(source.b.size());
  const auto size = static_cast<int64_t>(DTypeBytes(dtype));
  const int64_t row_bytes = (in + pieces * experts * rank) * size;
  ASSIGN_OR_RETURN(AlignedMemory joined, AlignedMemory::AllocateZeroed(out * row_bytes));
  const int64_t widest = std::max(in, rank);
  ASSIGN_OR_RETURN(AlignedMemory scratch,
                   AlignedMemory::Allocate(threads * widest * sizeof(float)));
  auto* target = static_cast<char*>(joined.data());
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const HostTensor& weight = source.base.weights[piece];
    ParallelSpans(threads, weight.dims[0], 64, weight.elements(),
                  [&](int64_t begin, int64_t end, int thread) {
                    float* wide = static_cast<float*>(scratch.data()) + thread * widest;
                    for (int64_t i = begin; i < end; ++i) {
                      char* row = target + i * row_bytes;
                      CopyWeightRow(weight, i, dtype, wide, row);
                      row += (in + piece * experts * rank) * size;
                      for (int64_t e = 0; e < experts; ++e, row += rank * size) {
                        CopyWeightRow(source.b[e].weights[piece], i, dtype, wide, row);
                      }
                    }
                  });
    target += weight.dims[0] * row_bytes;
  }
  return joined;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedLora>> CpuBackend::DoPackLora(const LoraWeights& source) {
  const size_t pieces = source.base.weights.size();
  const int64_t in = source.base.weights[0].dims[1];
  const int64_t rank = source.a[0].weights[0].dims[0];
  const auto inner = static_cast<int64_t>(pieces * source.a.size()) * rank;
  int64_t out = 0;
  for (const HostTensor& weight : source.base.weights) out += weight.dims[0];
  LinearWeights a;
  for (size_t piece = 0; piece < pieces; ++piece) {
    for (const LinearWeights& expert : source.a) a.weights.push_back(expert.weights[piece]);
  }
  auto packed = std::make_unique<CpuLora>();
  packed->scale = source.scale;
  ASSIGN_OR_RETURN(packed->a, product_.Pack(a));
  ASSIGN_OR_RETURN(const AlignedMemory joined,
                   Join(source, activation_dtype(), out, in, rank, threads_));
  ASSIGN_OR_RETURN(packed->base_and_b,
                   product_.Pack({{{activation_dtype(), {out, in + inner}, joined.data()}},
                                  source.base.biases}));
  packed->bytes = packed->a.bytes() + packed->base_and_b.bytes();
  return packed;
}

void CpuBackend::DoLoraLinear(Tensor x, const PackedLora& weights, const Routing& routing,
                              Tensor y) {
  const auto& packed = static_cast<const CpuLora&>(weights);
  const int64_t inner = packed.a.out();
  const int64_t pieces = inner / (weights.experts * weights.rank);
  const int64_t choices = routing.experts.cols();
  const Tensor low = New(DType::kFloat32, {x.rows(), inner});
  const Tensor wide = New(x.dtype, {x.rows(), weights.in + inner});
  const MatrixRows down = {&packed.a, 0, x.rows()};
  product_.Run({&down, 1}, x, {}, Activation::kNone, low, arena_);

  float* gates = arena_.New<float>(threads_ * weights.experts);
  ParallelSpans(
      threads_, x.rows(), 8, 2.0 * wide.elements(), [&](int64_t begin, int64_t end, int thread) {
        float* gate = gates + thread * weights.experts;
        for (int64_t t = begin; t < end; ++t) {
          std::fill_n(gate, weights.experts, 0.0f);
          for (int64_t j = t * choices; j < (t + 1) * choices; ++j) {
            gate[routing.experts.as<int32_t>()[j]] = packed.scale * routing.weights.as<float>()[j];
          }
          float* part = low.as<float>() + t * inner;
          for (int64_t block = 0; block < pieces * weights.experts; ++block, part += weights.rank) {
            const float factor = gate[block % weights.experts];
            // Zeroed, not scaled by 0: what the row does not choose cannot reach it, not even as
            // infinity.
            if (factor == 0) {
              std::fill_n(part, weights.rank, 0.0f);
            } else {
              rows::Scale(factor, weights.rank, part);
            }
          }
          char* row = static_cast<char*>(wide.Rows(t, 1).data);
          std::memcpy(row, x.Rows(t, 1).data, weights.in * DTypeBytes(x.dtype));
          rows::Narrow(low.as<float>() + t * inner, x.dtype, inner,
                       row + weights.in * DTypeBytes(x.dtype));
        }
      });
  const MatrixRows all = {&packed.base_and_b, 0, x.rows()};
  product_.Run({&all, 1}, wide, {}, Activation::kNone, y, arena_);
}

}  // namespace tessera
