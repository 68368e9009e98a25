// Where a model's weights go, at load time: what may be slow and may fail. Results live until the
// store ends or the object is freed. Backend adds the operations of a step; a store that only
// counts (DryRunStore) needs none of them.
//
// Thread: one, the engine's. Tests: tests/engine/backend/.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/operands.h"
#include "engine/backend/tensor.h"

namespace tessera {

// Memory that outlives steps; freed with the object.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual Tensor tensor() const = 0;
};

// Weights in the device's own layout.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  int64_t in = 0;
  int64_t out = 0;
  size_t bytes = 0;
};
class PackedExperts {
 public:
  virtual ~PackedExperts() = default;
  int64_t experts = 0;
  int64_t hidden = 0;
  int64_t ffn = 0;
  size_t bytes = 0;
};
class PackedLora {
 public:
  virtual ~PackedLora() = default;
  int64_t experts = 0;
  int64_t rank = 0;
  int64_t in = 0;
  int64_t out = 0;
  size_t bytes = 0;
};

// y = x Wᵀ + b. Several pieces are stacked along `out` (fused query·key·value, gate·up).
struct LinearWeights {
  std::vector<HostTensor> weights;  // each [out_i, in]
  std::vector<HostTensor> biases;   // none, or one [out_i] per piece
  bool logits = false;  // y decides on tokens: where weights get few bits, these get more
};

// Expert e: down(act(up(x))), or with `gated` down(act(gate) ⊙ up) where up[e] stacks gate, then
// up.
struct ExpertWeights {
  std::vector<LinearWeights> up;    // per expert, [ffn, hidden] or two of them
  std::vector<LinearWeights> down;  // per expert, [hidden, ffn]
  Activation activation = Activation::kNone;
  bool gated = false;
};

// A dense layer with low-rank experts beside it (LoRA: Hu et al. 2021, arXiv 2106.09685; a mixture
// of them: Chen et al. 2024, arXiv 2401.16160): row t gives x Wᵀ + b + scale · Σ_e g[t, e] · (x
// A_eᵀ) B_eᵀ, g[t, e] its routing weight, 0 where e is not chosen.
struct LoraWeights {
  LinearWeights base;
  std::vector<LinearWeights> a;  // per expert, one [rank, in] for each piece of the base
  std::vector<LinearWeights> b;  // per expert, one [out_i, rank] for each piece of the base
  float scale = 1;               // α / rank
};

class WeightStore {
 public:
  virtual ~WeightStore() = default;

  virtual std::string name() const = 0;  // "cpu", "cuda"
  // Of activations: float32, bfloat16 or float16.
  DType activation_dtype() const { return activation_dtype_; }
  // How linear layers and experts are kept: the activations' dtype, or what else the device makes
  // of them.
  virtual std::string weight_dtype() const { return std::string(DTypeName(activation_dtype_)); }

  // FAILED_PRECONDITION where the device has no attention for heads of so many dims.
  absl::Status CheckHeadDim(int64_t head_dim) const;
  // Whether RopeWriteKv() and PagedAttention() take a cache of `dtype`: the activations' own, on
  // some devices DType::kFloat8. INVALID_ARGUMENT, with a remedy, where they do not.
  absl::Status CheckKvDType(DType dtype) const;
  // Zeroed memory that outlives steps. RESOURCE_EXHAUSTED when there is not enough.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(DType dtype, Dims dims) = 0;
  // A copy of a host tensor, converted to `dtype`.
  absl::StatusOr<std::unique_ptr<Buffer>> Load(const HostTensor& source, DType dtype);
  // INVALID_ARGUMENT when pieces do not fit together.
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(const LinearWeights& source);
  absl::StatusOr<std::unique_ptr<PackedExperts>> PackExperts(const ExpertWeights& source);
  absl::StatusOr<std::unique_ptr<PackedLora>> PackLora(const LoraWeights& source);
  // Called once when all weights are packed, before the first step: time to measure what is best
  // for them.
  virtual void Autotune() {}

 protected:
  explicit WeightStore(DType activation_dtype) : activation_dtype_(activation_dtype) {}
  // `target` has the dims of `source`; both hold floating-point numbers, or the same dtype.
  virtual void DoLoad(const HostTensor& source, Tensor target) = 0;

 private:
  virtual int64_t MostHeadDim() const { return std::numeric_limits<int64_t>::max(); }
  // Where activations have 16 bits.
  virtual bool TakesFloat8Kv() const { return false; }
  virtual absl::StatusOr<std::unique_ptr<PackedLinear>> DoPackLinear(const LinearWeights&) = 0;
  virtual absl::StatusOr<std::unique_ptr<PackedExperts>> DoPackExperts(const ExpertWeights&) = 0;
  virtual absl::StatusOr<std::unique_ptr<PackedLora>> DoPackLora(const LoraWeights&) = 0;

  DType activation_dtype_;
};

}  // namespace tessera
