// The device-independent half of every operation: checks dtypes and shapes, takes the result from
// the step arena, then calls the device's kernel.
#include "engine/backend/backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/check.h"

namespace tessera {
namespace {

bool HasDims(const Tensor& x, Dims dims) {
  return x.rank == static_cast<int>(dims.size()) &&
         std::equal(dims.begin(), dims.end(), x.dims.begin());
}

void CheckTensor(const Tensor& x, DType dtype, Dims dims) {
  TESSERA_CHECK_MSG(x.dtype == dtype, fmt::format("dtype is {}", DTypeName(x.dtype)));
  TESSERA_CHECK_MSG(HasDims(x, dims), fmt::format("rank {} dims [{}]", x.rank,
                                                  fmt::join(x.dims.begin(), x.dims.end(), ", ")));
}

void CheckNorm(const Tensor& x, const NormWeights& norm) {
  CheckTensor(norm.weight, DType::kFloat32, {x.cols()});
  if (!norm.bias.empty()) CheckTensor(norm.bias, DType::kFloat32, {x.cols()});
}

// Of `rows` rows: what combines their experts' results.
void CheckRouted(const Routing& routing, int64_t rows) {
  CheckTensor(routing.places, DType::kInt32, {rows, routing.places.cols()});
  CheckTensor(routing.weights, DType::kFloat32, {rows, routing.places.cols()});
}

void CheckBatch(const PagedBatch& batch, int64_t rows) {
  const int64_t sequences = batch.context_lengths.elements();
  CheckTensor(batch.context_lengths, DType::kInt32, {sequences});
  CheckTensor(batch.query_starts, DType::kInt32, {sequences + 1});
  CheckTensor(batch.slots, DType::kInt32, {rows});
  TESSERA_CHECK(batch.block_tables.rank == 2 && batch.block_tables.dims[0] == sequences);
  TESSERA_CHECK(batch.positions.rank == 2 && batch.positions.dims[1] == rows);
  if (!batch.window_ends.empty()) CheckTensor(batch.window_ends, DType::kInt32, {sequences});
}

void CheckRope(const Rope& rope, const AttentionShape& shape) {
  const int64_t pairs = rope.pair_axis.elements();
  TESSERA_CHECK(2 * pairs <= shape.head_dim);
  if (pairs == 0) return;
  CheckTensor(rope.pair_axis, DType::kInt32, {pairs});
  CheckTensor(rope.cosine, DType::kFloat32, {rope.cosine.rows(), pairs});
  CheckTensor(rope.sine, DType::kFloat32, {rope.cosine.rows(), pairs});
}

void CheckHeadNorm(const NormWeights& norm, const AttentionShape& shape) {
  if (norm.weight.empty()) return;
  CheckTensor(norm.weight, DType::kFloat32, {shape.head_dim});
  if (!norm.bias.empty()) CheckTensor(norm.bias, DType::kFloat32, {shape.head_dim});
}

void CheckAttention(const Tensor& qkv, const AttentionShape& shape, const KvLayer& kv,
                    DType dtype) {
  TESSERA_CHECK(shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  CheckTensor(qkv, dtype, {qkv.rows(), int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim});
  TESSERA_CHECK(kv.keys.rank == 4 && kv.values.rank == 4);
  const int64_t blocks = kv.keys.dims[0];
  const int64_t block_size = kv.keys.dims[2];
  for (const Tensor& rows : {kv.keys, kv.values}) {
    CheckTensor(rows, kv.keys.dtype, {blocks, shape.kv_heads, block_size, shape.head_dim});
  }
  if (kv.keys.dtype != DType::kFloat8) return;
  for (const Tensor& scales : {kv.key_scales, kv.value_scales}) {
    CheckTensor(scales, DType::kFloat32, {blocks, shape.kv_heads, block_size});
  }
}

}  // namespace

std::vector<Tensor> GraphCache::Run(const std::string&, const Work& work) { return work(); }

Tensor Backend::Embed(Tensor table, Tensor ids, Tensor sampled) {
  CheckTensor(table, activation_dtype(), {table.rows(), table.cols()});
  CheckTensor(ids, DType::kInt32, {ids.elements()});
  if (!sampled.empty()) CheckTensor(sampled, DType::kInt32, {sampled.elements()});
  Tensor y = New(activation_dtype(), {ids.elements(), table.cols()});
  DoEmbed(table, ids, sampled, y);
  return y;
}

Tensor Backend::GatherRows(Tensor x, Tensor rows) {
  TESSERA_CHECK(x.rank == 2);
  CheckTensor(rows, DType::kInt32, {rows.elements()});
  Tensor y = New(x.dtype, {rows.elements(), x.cols()});
  DoGatherRows(x, rows, y);
  return y;
}

void Backend::PutRows(Tensor x, Tensor source, Tensor rows) {
  CheckTensor(rows, DType::kInt32, {rows.elements()});
  CheckTensor(x, source.dtype, {x.rows(), x.cols()});
  CheckTensor(source, x.dtype, {rows.elements(), x.cols()});
  DoPutRows(x, source, rows);
}

void Backend::AddRows(Tensor x, Tensor source, Tensor rows) {
  CheckTensor(rows, DType::kInt32, {rows.elements()});
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  CheckTensor(source, activation_dtype(), {rows.elements(), x.cols()});
  DoAddRows(x, source, rows);
}

Tensor Backend::Linear(Tensor x, const PackedLinear& weights, Activation activation) {
  CheckTensor(x, activation_dtype(), {x.rows(), weights.in});
  Tensor y = New(activation_dtype(), {x.rows(), weights.out});
  DoLinear(x, weights, activation, y);
  return y;
}

Tensor Backend::LinearFloat32(Tensor x, const PackedLinear& weights) {
  CheckTensor(x, activation_dtype(), {x.rows(), weights.in});
  Tensor y = New(DType::kFloat32, {x.rows(), weights.out});
  DoLinear(x, weights, Activation::kNone, y);
  return y;
}

Largest Backend::ArgMax(Tensor x, int64_t columns) {
  CheckTensor(x, DType::kFloat32, {x.rows(), x.cols()});
  TESSERA_CHECK(columns >= 1 && columns <= x.cols());
  const Largest largest = {New(DType::kInt32, {x.rows()}), New(DType::kFloat32, {x.rows()})};
  DoArgMax(x, columns, largest);
  return largest;
}

Tensor Backend::SampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                             std::span<const LogitAdjustment> adjustments) {
  CheckTensor(x, DType::kFloat32, {static_cast<int64_t>(samples.size()), x.cols()});
  TESSERA_CHECK(columns >= 1 && columns <= x.cols() && columns <= kMaxSampled);
  for (const LogitAdjustment& adjustment : adjustments) {
    TESSERA_CHECK(adjustment.row >= 0 && adjustment.row < x.rows() && adjustment.id >= 0 &&
                  adjustment.id < columns);
  }
  Tensor places = New(DType::kInt32, {x.rows()});
  DoSampleTokens(x, columns, samples, adjustments, places);
  return places;
}

Tensor Backend::Norm(Tensor x, const NormWeights& norm) {
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  CheckNorm(x, norm);
  Tensor y = New(activation_dtype(), {x.rows(), x.cols()});
  DoNorm(x, norm, y);
  return y;
}

void Backend::Add(Tensor x, Tensor branch) {
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  CheckTensor(branch, activation_dtype(), {x.rows(), x.cols()});
  DoAdd(x, branch);
}

void Backend::ScaleRows(Tensor x, Tensor factors) {
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  CheckTensor(factors, DType::kFloat32, {x.rows()});
  DoScaleRows(x, factors);
}

Tensor Backend::AddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
                        float scale) {
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  TESSERA_CHECK(branches.size() <= 2);
  for (const ResidualBranch& branch : branches) {
    if (branch.routed()) CheckRouted(branch.routing, x.rows());
    const int64_t rows = branch.routed() ? branch.routing.places.elements() : x.rows();
    CheckTensor(branch.rows, activation_dtype(), {rows, x.cols()});
  }
  CheckNorm(x, norm);
  Tensor y = New(activation_dtype(), {x.rows(), x.cols()});
  DoAddNorm(x, branches, norm, scale, y);
  return y;
}

Tensor Backend::GatedActivate(Tensor x, Activation activation) {
  TESSERA_CHECK(x.cols() % 2 == 0);
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  Tensor y = New(activation_dtype(), {x.rows(), x.cols() / 2});
  DoGatedActivate(x, activation, y);
  return y;
}

void Backend::RopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                          const Rope& rope, const PagedBatch& batch, const KvLayer& kv) {
  CheckAttention(qkv, shape, kv, activation_dtype());
  TESSERA_CHECK(CheckKvDType(kv.keys.dtype).ok());
  CheckBatch(batch, qkv.rows());
  CheckHeadNorm(norms.query, shape);
  CheckHeadNorm(norms.key, shape);
  CheckRope(rope, shape);
  DoRopeWriteKv(qkv, shape, norms, rope, batch, kv);
}

void Backend::ApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                        Tensor positions) {
  CheckTensor(qkv, activation_dtype(),
              {qkv.rows(), int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim});
  CheckTensor(positions, DType::kInt32, {positions.rows(), qkv.rows()});
  CheckRope(rope, shape);
  DoApplyRope(qkv, shape, rope, positions);
}

Tensor Backend::PagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                               const KvLayer& kv) {
  CheckAttention(qkv, shape, kv, activation_dtype());
  TESSERA_CHECK(CheckKvDType(kv.keys.dtype).ok());
  CheckBatch(batch, qkv.rows());
  Tensor y = New(activation_dtype(), {qkv.rows(), int64_t{shape.heads} * shape.head_dim});
  DoPagedAttention(qkv, shape, batch, kv, y);
  return y;
}

Tensor Backend::FullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts,
                              int64_t max_span, int64_t first, int64_t rows) {
  TESSERA_CHECK(shape.heads > 0 && shape.kv_heads == shape.heads && shape.sliding_window == 0);
  CheckTensor(qkv, activation_dtype(), {qkv.rows(), int64_t{3} * shape.heads * shape.head_dim});
  CheckTensor(starts, DType::kInt32, {starts.elements()});
  TESSERA_CHECK(starts.elements() >= 1);
  TESSERA_CHECK(first >= 0 && rows >= 0 && first + rows <= qkv.rows());
  Tensor y = New(activation_dtype(), {rows, int64_t{shape.heads} * shape.head_dim});
  DoFullAttention(qkv, shape, starts, max_span, first, y);
  return y;
}

Routing Backend::Route(Tensor x, Tensor router, Tensor bias, const RouterConfig& config,
                       Tensor noise) {
  const int64_t rows = x.rows();
  const int64_t experts = router.rows();
  const int64_t choices = config.experts_per_token;
  CheckTensor(x, activation_dtype(), {rows, router.cols()});
  CheckTensor(router, DType::kFloat32, {experts, x.cols()});
  if (!bias.empty()) CheckTensor(bias, DType::kFloat32, {experts});
  if (!noise.empty()) CheckTensor(noise, DType::kFloat32, {rows, experts});
  TESSERA_CHECK(choices >= 1 && choices <= experts);
  Routing result;
  result.logits = New(DType::kFloat32, {rows, experts});
  result.experts = New(DType::kInt32, {rows, choices});
  result.weights = New(DType::kFloat32, {rows, choices});
  result.expert_starts = New(DType::kInt32, {experts + 1});
  result.sorted_rows = New(DType::kInt32, {rows * choices});
  result.places = New(DType::kInt32, {rows, choices});
  DoRoute(x, router, bias, config, noise, result);
  return result;
}

Tensor Backend::ExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing) {
  CheckTensor(x, activation_dtype(), {x.rows(), experts.hidden});
  CheckTensor(routing.expert_starts, DType::kInt32, {experts.experts + 1});
  const int64_t places = routing.sorted_rows.elements();
  CheckTensor(routing.sorted_rows, DType::kInt32, {places});
  Tensor y = New(activation_dtype(), {places, experts.hidden});
  DoExpertFfn(x, experts, routing, y);
  return y;
}

Tensor Backend::WeightedSum(Tensor x, Tensor rows, Tensor weights) {
  CheckTensor(x, activation_dtype(), {x.rows(), x.cols()});
  CheckTensor(rows, DType::kInt32, {rows.rows(), rows.cols()});
  CheckTensor(weights, DType::kFloat32, {rows.rows(), rows.cols()});
  Tensor y = New(activation_dtype(), {rows.rows(), x.cols()});
  DoWeightedSum(x, rows, weights, y);
  return y;
}

Tensor Backend::LoraLinear(Tensor x, const PackedLora& weights, const Routing& routing) {
  const int64_t rows = x.rows();
  const int64_t choices = routing.experts.cols();
  CheckTensor(x, activation_dtype(), {rows, weights.in});
  CheckTensor(routing.logits, DType::kFloat32, {rows, weights.experts});
  CheckTensor(routing.experts, DType::kInt32, {rows, choices});
  CheckTensor(routing.weights, DType::kFloat32, {rows, choices});
  Tensor y = New(activation_dtype(), {rows, weights.out});
  DoLoraLinear(x, weights, routing, y);
  return y;
}

}  // namespace tessera
