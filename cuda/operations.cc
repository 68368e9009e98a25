// Operations that are one kernel.
#include "cuda/cuda_backend.h"

namespace tessera {

void CudaBackend::DoEmbed(Tensor table, Tensor ids, Tensor sampled, Tensor y) {
  cuda::Embed(table, ids, sampled, y, stream_);
}

void CudaBackend::DoGatherRows(Tensor x, Tensor rows, Tensor y) {
  cuda::GatherRows(x, rows, y, stream_);
}

void CudaBackend::DoPutRows(Tensor x, Tensor source, Tensor rows) {
  cuda::PutRows(x, source, rows, stream_);
}

void CudaBackend::DoAddRows(Tensor x, Tensor source, Tensor rows) {
  cuda::AddRows(x, source, rows, stream_);
}

void CudaBackend::DoArgMax(Tensor x, int64_t columns, const Largest& largest) {
  cuda::ArgMax(x, columns, largest, stream_);
}

void CudaBackend::DoSampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                                 std::span<const LogitAdjustment> adjustments, Tensor places) {
  const auto upload = [&](auto values) {
    const auto bytes = static_cast<int64_t>(values.size_bytes());
    const Tensor target = New(DType::kInt32, {bytes / 4});
    if (bytes > 0) DoUpload(values.data(), target);
    return target.data;
  };
  const auto count = static_cast<int>(adjustments.size());
  cuda::AdjustLogits(x, static_cast<const LogitAdjustment*>(upload(adjustments)), count, stream_);
  const Largest largest = {places, New(DType::kFloat32, {x.rows()})};
  cuda::ArgMax(x, columns, largest, stream_);
  cuda::SampleTokens(x, columns, static_cast<const SampleParams*>(upload(samples)), largest,
                     stream_);
}

void CudaBackend::DoNorm(Tensor x, const NormWeights& norm, Tensor y) {
  cuda::AddNorm(x, {}, norm, 1.0f, y, stream_);
}

void CudaBackend::DoAdd(Tensor x, Tensor branch) { cuda::Add(x, branch, stream_); }

void CudaBackend::DoScaleRows(Tensor x, Tensor factors) { cuda::ScaleRows(x, factors, stream_); }

void CudaBackend::DoAddNorm(Tensor x, std::span<const ResidualBranch> branches,
                            const NormWeights& norm, float scale, Tensor y) {
  cuda::AddNorm(x, branches, norm, scale, y, stream_);
}

void CudaBackend::DoGatedActivate(Tensor x, Activation activation, Tensor y) {
  cuda::GatedActivate(x, activation, y, stream_);
}

void CudaBackend::DoRopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                                const Rope& rope, const PagedBatch& batch, const KvLayer& kv) {
  cuda::RotateHeads(qkv, shape, norms, rope, batch.positions, batch.slots, kv, stream_);
}

void CudaBackend::DoApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                              Tensor positions) {
  cuda::RotateHeads(qkv, shape, {}, rope, positions, {}, {}, stream_);
}

void CudaBackend::DoPagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                                   const KvLayer& kv, Tensor y) {
  const Tensor scratch = New(DType::kFloat32, {cuda::PagedAttentionScratch(shape, batch)});
  cuda::PagedAttention(qkv, shape, batch, kv, scratch.as<float>(), y, stream_);
}

void CudaBackend::DoFullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts,
                                  int64_t max_span, int64_t first, Tensor y) {
  cuda::FullAttention(qkv, shape, starts, max_span, first, y, stream_);
}

void CudaBackend::DoRoute(Tensor x, Tensor router, Tensor bias, const RouterConfig& config,
                          Tensor noise, const Routing& result) {
  cuda::Route(x, router, bias, config, noise, result, stream_);
}

void CudaBackend::DoWeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y) {
  cuda::WeightedSum(x, rows, weights, y, stream_);
}

}  // namespace tessera
