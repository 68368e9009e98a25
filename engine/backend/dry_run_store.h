// A store that keeps nothing and reads no data: it takes weights like any other, but only
// counts the memory that they would need, without a device's padding. With it, the very code that
// loads a model checks a checkpoint of which only headers are read.
#pragma once

#include <memory>

#include "engine/backend/weight_store.h"

namespace tessera {

class DryRunStore final : public WeightStore {
 public:
  explicit DryRunStore(DType dtype) : WeightStore(dtype) {}

  // Of everything allocated, loaded and packed so far: matrices in the activations' dtype, their
  // biases in float32, other tensors as they were loaded.
  int64_t bytes() const { return bytes_; }

  std::string name() const override { return "none"; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(DType dtype, Dims dims) override;

 private:
  void DoLoad(const HostTensor& source, Tensor target) override;
  absl::StatusOr<std::unique_ptr<PackedLinear>> DoPackLinear(const LinearWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedExperts>> DoPackExperts(const ExpertWeights&) override;
  absl::StatusOr<std::unique_ptr<PackedLora>> DoPackLora(const LoraWeights&) override;

  int64_t BytesOf(const LinearWeights& weights) const;
  int64_t BytesOf(const std::vector<LinearWeights>& each) const;

  int64_t bytes_ = 0;
};

}  // namespace tessera
