// The class behind MakeCudaBackend(): operations queue kernels (kernels/kernels.h) on one stream;
// only who wants to know results waits.
#pragma once

#include <memory>

#include "cuda/device_memory.h"
#include "cuda/fallback_log.h"
#include "cuda/graphs.h"
#include "cuda/kernels/kernels.h"
#include "cuda/pinned_readbacks.h"
#include "cuda/staging.h"
#include "cuda/tile_choice.h"
#include "cuda/weight_format.h"
#include "cuda/weights.h"
#include "engine/backend/backend.h"

namespace tessera {

class CudaBackend final : public Backend {
 public:
  // `format` of linear layers and experts; of 8 bits only with 16-bit activations. `tile_cache` as
  // TileChoice has it.
  CudaBackend(DType dtype, WeightFormat format, gpu::Device device, gpu::StreamHandle stream,
              const std::optional<std::filesystem::path>& tile_cache = std::nullopt,
              const TuningOptions& tuning = {});
  ~CudaBackend() override;

  std::string name() const override { return "cuda"; }
  std::string weight_dtype() const override;
  int64_t CacheBytes() const override;
  gpu::StreamHandle stream() const { return stream_; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(DType dtype, Dims dims) override;
  int32_t BlockRows() const override { return 64; }
  Fallbacks fallbacks() const override { return fallbacks_.counts(); }
  void Autotune() override { tiles_.Tune(staging_, stream_); }
  std::unique_ptr<GraphCache> MakeGraphCache() override {
    return std::make_unique<Graphs>(arena_, staging_, stream_);
  }
  bool queues() const override { return true; }
  bool Idle() override { return gpu::Done(stream_); }
  std::unique_ptr<Backend> MakeSecondaryStream() override;
  void set_sm_fraction(double share) override;
  void ResetArena() override { arena_.Reset(); }
  Tensor New(DType dtype, Dims dims) override;

 private:
  int64_t MostHeadDim() const override { return cuda::kMaxHeadDim; }
  bool TakesFloat8Kv() const override { return true; }
  // memory.cc
  void DoLoad(const HostTensor& source, Tensor target) override;
  void DoUpload(const void* source, Tensor target) override;
  std::unique_ptr<PendingCopy> DoDownload(std::span<const Download> downloads) override;
  void DoCopy(Tensor source, Tensor target) override;
  // pack.cc
  absl::StatusOr<std::unique_ptr<PackedLinear>> DoPackLinear(const LinearWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedExperts>> DoPackExperts(const ExpertWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedLora>> DoPackLora(const LoraWeights&) override;
  // products.cc
  void DoLinear(Tensor x, const PackedLinear& weights, Activation activation, Tensor y) override;
  void DoExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing,
                   Tensor y) override;
  void DoLoraLinear(Tensor x, const PackedLora& weights, const Routing& routing, Tensor y) override;
  // operations.cc
  void DoEmbed(Tensor table, Tensor ids, Tensor sampled, Tensor y) override;
  void DoGatherRows(Tensor x, Tensor rows, Tensor y) override;
  void DoPutRows(Tensor x, Tensor source, Tensor rows) override;
  void DoAddRows(Tensor x, Tensor source, Tensor rows) override;
  void DoArgMax(Tensor x, int64_t columns, const Largest& largest) override;
  void DoSampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                      std::span<const LogitAdjustment> adjustments, Tensor places) override;
  void DoNorm(Tensor x, const NormWeights& norm, Tensor y) override;
  void DoAdd(Tensor x, Tensor branch) override;
  void DoScaleRows(Tensor x, Tensor factors) override;
  void DoAddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
                 float scale, Tensor y) override;
  void DoGatedActivate(Tensor x, Activation activation, Tensor y) override;
  void DoRopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                     const Rope& rope, const PagedBatch& batch, const KvLayer& kv) override;
  void DoApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                   Tensor positions) override;
  void DoPagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                        const KvLayer& kv, Tensor y) override;
  void DoFullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span,
                       int64_t first, Tensor y) override;
  void DoRoute(Tensor x, Tensor router, Tensor bias, const RouterConfig& config, Tensor noise,
               const Routing& result) override;
  void DoWeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y) override;

  // Products with these weights will come.
  void Expect(const DeviceWeights& weights, bool gated = false, bool gathered = false);
  void Run(const cuda::Product& product, const DeviceWeights& weights);
  cuda::Product WithRowsOf8Bits(cuda::Product product);
  // Whether products of 16-bit types take the kernels of sm_90a.
  bool uses_hopper() const { return device_.major == 9 && activation_dtype() != DType::kFloat32; }

  const WeightFormat format_;
  const gpu::Device device_;
  const gpu::StreamHandle stream_;
  int multiprocessors_;  // that persistent kernels fill
  DeviceArena arena_;
  Staging staging_;
  PinnedReadbacks pinned_readbacks_;
  const std::optional<std::filesystem::path> tile_cache_;
  TileChoice tiles_;
  FallbackLog fallbacks_;
};

}  // namespace tessera
