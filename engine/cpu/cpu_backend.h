// The class behind MakeCpuBackend(): one private method per operation, implemented in the file
// named beside it.
#pragma once

#include <functional>
#include <memory>

#include "engine/backend/backend.h"
#include "engine/cpu/aligned_memory.h"
#include "engine/cpu/matrix.h"

namespace tessera {

class CpuBackend final : public Backend {
 public:
  CpuBackend(DType dtype, int threads);

  std::string name() const override { return "cpu"; }
  int64_t CacheBytes() const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(DType dtype, Dims dims) override;
  void ResetArena() override { arena_.Reset(); }
  Tensor New(DType dtype, Dims dims) override;

 private:
  // memory.cc
  void DoLoad(const HostTensor& source, Tensor target) override;
  void DoUpload(const void* source, Tensor target) override;
  std::unique_ptr<PendingCopy> DoDownload(std::span<const Download> downloads) override;
  void DoCopy(Tensor source, Tensor target) override;
  // rows.cc
  void DoEmbed(Tensor table, Tensor ids, Tensor sampled, Tensor y) override;
  void DoGatherRows(Tensor x, Tensor rows, Tensor y) override;
  void DoPutRows(Tensor x, Tensor source, Tensor rows) override;
  void DoAddRows(Tensor x, Tensor source, Tensor rows) override;
  void DoWeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y) override;
  void DoGatedActivate(Tensor x, Activation activation, Tensor y) override;
  void DoArgMax(Tensor x, int64_t columns, const Largest& largest) override;
  void DoSampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                      std::span<const LogitAdjustment> adjustments, Tensor places) override;
  void DoNorm(Tensor x, const NormWeights& norm, Tensor y) override;
  void DoAdd(Tensor x, Tensor branch) override;
  void DoScaleRows(Tensor x, Tensor factors) override;
  void DoAddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
                 float scale, Tensor y) override;
  // linear.cc
  absl::StatusOr<std::unique_ptr<PackedLinear>> DoPackLinear(const LinearWeights&) override;
  void DoLinear(Tensor x, const PackedLinear& weights, Activation activation, Tensor y) override;
  // attention.cc
  void DoRopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                     const Rope& rope, const PagedBatch& batch, const KvLayer& kv) override;
  void DoApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                   Tensor positions) override;
  void DoPagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                        const KvLayer& kv, Tensor y) override;
  void DoFullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span,
                       int64_t first, Tensor y) override;
  // route.cc
  void DoRoute(Tensor x, Tensor router, Tensor bias, const RouterConfig& config, Tensor noise,
               const Routing& result) override;
  // experts.cc
  absl::StatusOr<std::unique_ptr<PackedExperts>> DoPackExperts(const ExpertWeights&) override;
  void DoExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing,
                   Tensor y) override;
  // lora.cc
  absl::StatusOr<std::unique_ptr<PackedLora>> DoPackLora(const LoraWeights&) override;
  void DoLoraLinear(Tensor x, const PackedLora& weights, const Routing& routing, Tensor y) override;

  // y[row] = f(row as float32 [cols], in place), widened before and rounded once after, over all
  // rows on all cores. `cost` is the work per element.
  void MapRows(Tensor x, Tensor y, double cost,
               const std::function<void(int64_t row, float* values)>& f);

  const int threads_;
  Arena arena_;
  MatrixProduct product_;
};

}  // namespace tessera
