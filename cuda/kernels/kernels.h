// The launches of the CUDA backend's kernels: the work of Backend's operations
// (engine/backend/backend.h gives shapes and meaning), queued on a stream. Shapes are checked by
// the caller. Each row of a result has the same bits whatever other rows there are: sums run in an
// order that depends on the row alone.
#pragma once

#include <span>

#include "cuda/weight_format.h"
#include "engine/backend/operands.h"
#include "engine/backend/sample.h"
#include "engine/backend/tensor.h"
#include "gpu/runtime.h"

namespace tessera::cuda {

using Stream = gpu::StreamHandle;

// --- copy.cu: load time ---
// 8-bit weights lie in blocks (eight_bit.h) of
constexpr int kBlockRows = 16;
constexpr int kBlockCols = 64;
// and 4-bit ones in boxes (four_bit.h) of so many rows, the same columns and
constexpr int kBoxRows = 64;
constexpr int kFourBitBoxBytes = 2176;
// A [rows, cols] part of host weights that lies on the device as it was stored.
struct StoredMatrix {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;  // in elements
  int64_t column_stride = 0;
};
// Where it goes: row r to row `first_row` + r of [rows, stride] (W8A8, too) or, where `format` has
// 8 bits, of the matrix of eight_bit.h, its scale to `scales`, or that of four_bit.h; or where
// `gated_half` ≥ 0 to row 16 · (r / 8) + 8 · gated_half + r % 8 (kernels of gated experts want
// eight gates, then the eight rows they gate).
struct PackedRows {
  void* data = nullptr;
  DType dtype = DType::kFloat32;  // of 4 bits, the scales'; of 8 bits, none
  int64_t stride = 0;             // in elements
  int64_t first_row = 0;
  int64_t first_col = 0;
  int gated_half = -1;
  WeightFormat format = WeightFormat::kActivations;
  float* scales = nullptr;
};
void CopyMatrix(const StoredMatrix& source, const PackedRows& target, Stream stream);
// To 8 or 4 bits. `source` holds whole rows, first_col is 0, and of 4 bits what is not written is
// zero. A row, or group, with a number that is not finite gets an infinite scale and zeros, so that
// its products are NaN.
void QuantizeMatrix(const StoredMatrix& source, const PackedRows& target, Stream stream);

// --- rows.cu ---
void Embed(Tensor table, Tensor ids, Tensor sampled, Tensor y, Stream stream);
void GatherRows(Tensor x, Tensor rows, Tensor y, Stream stream);
void PutRows(Tensor x, Tensor source, Tensor rows, Stream stream);
void AddRows(Tensor x, Tensor source, Tensor rows, Stream stream);
void Add(Tensor x, Tensor branch, Stream stream);
void ScaleRows(Tensor x, Tensor factors, Stream stream);
void GatedActivate(Tensor x, Activation activation, Tensor y, Stream stream);

// --- argmax.cu ---
void ArgMax(Tensor x, int64_t columns, const Largest& largest, Stream stream);

// --- sample.cu ---
// Arrays on the device. `largest` is that of the edited logits; its places become the tokens
// sampled.
void AdjustLogits(Tensor x, const LogitAdjustment* adjustments, int count, Stream stream);
void SampleTokens(Tensor x, int64_t columns, const SampleParams* samples, const Largest& largest,
                  Stream stream);

// --- norm.cu ---
// x += scale · Σ branches, two at most, then y = norm(x).
void AddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
             float scale, Tensor y, Stream stream);

// --- route.cu ---
void Route(Tensor x, Tensor router, Tensor bias, const RouterConfig& config, Tensor noise,
           const Routing& result, Stream stream);
void WeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y, Stream stream);

// --- product.cu ---
// y[p] = act(x[rows[p]] · W[e]ᵀ + bias[e]) for the places p of each expert e. Gated: rows of W come
// in sixteens, eight gates and the eight rows they gate, and y = act(gate) ⊙ up has half as many
// columns.
struct Product {
  Tensor x;                           // [T, in], kFloat8 where rows are of 8 bits
  const int32_t* rows = nullptr;      // [places]; null: place p takes row p
  const float* row_scales = nullptr;  // of rows of 8 bits, [T]
  const int32_t* starts = nullptr;    // [experts + 1]; null: one expert takes all places
  int64_t places = 0;
  int64_t experts = 1;
  // [experts, out, stride] of x's dtype, or as in eight_bit.h or four_bit.h.
  const void* weights = nullptr;
  WeightFormat format = WeightFormat::kActivations;  // quantised: x of 16 bits, or kFloat8 (W8A8)
  const float* scales = nullptr;                     // of 8-bit weights, [experts, out]
  int64_t out = 0;                                   // a multiple of 16 where gated
  int64_t stride = 0;  // ≥ in, zero beyond it, a multiple of 16 bytes, of quantised ones 64 columns
  const float* bias = nullptr;  // [experts, out] or null
  Activation activation = Activation::kNone;
  bool gated = false;
  Tensor y;  // [places, columns], of x's dtype or float32
};
void RunProduct(const Product& product, Stream stream);

// --- quantize_rows.cu ---
// Row t of x [T, cols] as scales[t] times the numbers of y [T, stride], kFloat8, zeros beyond cols,
// stride a multiple of 8. A row with a number that is not finite gets an infinite scale and zeros,
// so that its products are NaN.
void QuantizeRows(Tensor x, Tensor y, float* scales, Stream stream);

// --- lora.cu ---
// [x | gates ⊙ low]: `low` float32 [T, blocks · rank] are products with the A of experts, those of
// each piece in a row; the gate of block b is scale · the weight with which the row chose expert b
// % experts, else its columns are zero.
void JoinLowRank(Tensor x, Tensor low, const Routing& routing, int64_t rank, float scale,
                 Tensor joined, Stream stream);

// --- rope.cu ---
// Norms and rotates queries and keys of qkv in place; where kv.keys is not empty also writes keys
// and values to their slots, as the cache stores them.
void RotateHeads(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms, const Rope& rope,
                 Tensor positions, Tensor slots, const KvLayer& kv, Stream stream);

// --- attention.cu, rope.cu ---
constexpr int kMaxHeadDim = 256;

// Of all types: head_dim a multiple of 8 up to 256, scale > 0.
// The float32 values of scratch that PagedAttention() needs, 8-byte aligned.
int64_t PagedAttentionScratch(const AttentionShape& shape, const PagedBatch& batch);
void PagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                    const KvLayer& kv, float* scratch, Tensor y, Stream stream);
void FullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span,
                   int64_t first, Tensor y, Stream stream);

}  // namespace tessera::cuda
