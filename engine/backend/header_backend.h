// A device that computes nothing and reads no data: it takes weights like any other, but only
// counts the memory that they would need, without a device's padding. With it, the very code that
// loads a model checks a checkpoint of which only headers are read.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace tessera {

class HeaderBackend final : public Backend {
 public:
  explicit HeaderBackend(DType dtype) : Backend(dtype) {}

  // Of everything allocated, loaded and packed so far: matrices in the backend's dtype, their
  // biases in float32, other tensors as they were loaded.
  int64_t bytes() const { return bytes_; }

  std::string name() const override { return "none"; }
  int64_t CacheBytes() const override { return 0; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(DType dtype,
                                                   std::initializer_list<int64_t> dims) override;
  // Step-time operations are bugs here.
  void ResetArena() override;
  Tensor New(DType dtype, std::initializer_list<int64_t> dims) override;

 private:
  void DoLoad(const HostTensor& source, Tensor target) override;
  absl::StatusOr<std::unique_ptr<PackedLinear>> DoPackLinear(const LinearWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedExperts>> DoPackExperts(const ExpertWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedLora>> DoPackLora(const LoraWeights&) override;

  void DoUpload(const void*, Tensor) override;
  std::unique_ptr<Arrival> DoDownload(std::span<const Download>) override;
  void DoCopy(Tensor, Tensor) override;
  void DoEmbed(Tensor, Tensor, Tensor, Tensor) override;
  void DoGatherRows(Tensor, Tensor, Tensor) override;
  void DoPutRows(Tensor, Tensor, Tensor) override;
  void DoAddRows(Tensor, Tensor, Tensor) override;
  void DoLinear(Tensor, const PackedLinear&, Activation, Tensor) override;
  void DoArgMax(Tensor, int64_t, const Largest&) override;
  void DoDrawTokens(Tensor, int64_t, std::span<const Draw>, std::span<const LogitEdit>,
                    Tensor) override;
  void DoNorm(Tensor, const NormWeights&, Tensor) override;
  void DoAdd(Tensor, Tensor) override;
  void DoScaleRows(Tensor, Tensor) override;
  void DoAddNorm(Tensor, std::span<const Delta>, const NormWeights&, float, Tensor) override;
  void DoGatedActivate(Tensor, Activation, Tensor) override;
  void DoRopeWriteKv(Tensor, const AttentionShape&, const HeadNorms&, const Rope&,
                     const PagedBatch&, const KvLayer&) override;
  void DoApplyRope(Tensor, const AttentionShape&, const Rope&, Tensor) override;
  void DoPagedAttention(Tensor, const AttentionShape&, const PagedBatch&, const KvLayer&,
                        Tensor) override;
  void DoFullAttention(Tensor, const AttentionShape&, Tensor, int64_t, int64_t, Tensor) override;
  void DoRoute(Tensor, Tensor, Tensor, const RouterConfig&, Tensor, const Routing&) override;
  void DoExpertFfn(Tensor, const PackedExperts&, const Routing&, Tensor) override;
  void DoCombine(Tensor, const Routing&, Tensor) override;
  void DoLoraLinear(Tensor, const PackedLora&, const Routing&, Tensor) override;

  int64_t BytesOf(const LinearWeights& weights) const;
  int64_t BytesOf(const std::vector<LinearWeights>& each) const;

  int64_t bytes_ = 0;
};

}  // namespace tessera
