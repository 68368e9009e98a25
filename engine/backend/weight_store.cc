// The device-independent half of loading: checks that pieces fit together, then calls the device's
// packing.
#include "engine/backend/weight_store.h"

#include <fmt/format.h>

#include "engine/backend/weight_checks.h"
#include "engine/base/status.h"

namespace tessera {

absl::Status WeightStore::CheckHeadDim(int64_t head_dim) const {
  if (head_dim <= MostHeadDim()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("heads of attention have {} dims, {} takes {} at most; use --device cpu",
                  head_dim, name(), MostHeadDim()));
}

absl::Status WeightStore::CheckKvDType(DType dtype) const {
  if (dtype == activation_dtype_) return absl::OkStatus();
  if (dtype != DType::kFloat8 || !TakesFloat8Kv()) {
    return absl::InvalidArgumentError(fmt::format(
        "{} keeps the KV cache in {}, not in {}; use --device cuda or leave --kv-dtype out", name(),
        DTypeName(activation_dtype_), DTypeName(dtype)));
  }
  if (activation_dtype_ == DType::kFloat32) {
    return absl::InvalidArgumentError(
        "a KV cache in fp8 needs activations in bfloat16 or float16, not float32; use --dtype "
        "bfloat16");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Buffer>> WeightStore::Load(const HostTensor& source, DType dtype) {
  if (source.dims.size() > kMaxRank) {
    return absl::InvalidArgumentError(
        fmt::format("tensor of shape {} has too many dimensions", source.ShapeString()));
  }
  if (source.dtype != dtype && !(IsFloat(source.dtype) && IsFloat(dtype))) {
    return absl::InvalidArgumentError(
        fmt::format("cannot load {} as {}", DTypeName(source.dtype), DTypeName(dtype)));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Allocate(dtype, source.dims));
  DoLoad(source, buffer->tensor());
  return buffer;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> WeightStore::PackLinear(const LinearWeights& source) {
  ASSIGN_OR_RETURN(const auto dims, StackedDims(source));
  ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> packed, DoPackLinear(source));
  packed->out = dims.first;
  packed->in = dims.second;
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> WeightStore::PackExperts(
    const ExpertWeights& source) {
  if (source.up.empty() || source.up.size() != source.down.size()) {
    return absl::InvalidArgumentError(fmt::format("experts with {} up and {} down projections",
                                                  source.up.size(), source.down.size()));
  }
  int64_t hidden = 0;
  int64_t ffn = 0;
  for (size_t e = 0; e < source.up.size(); ++e) {
    ASSIGN_OR_RETURN(const auto up, StackedDims(source.up[e]));
    ASSIGN_OR_RETURN(const auto down, StackedDims(source.down[e]));
    if (e == 0) {
      hidden = up.second;
      ffn = down.second;
    }
    const int64_t up_rows = source.gated ? 2 * ffn : ffn;
    if (up.second != hidden || up.first != up_rows || down.second != ffn || down.first != hidden) {
      return absl::InvalidArgumentError(fmt::format(
          "expert {}: up is [{}, {}] and down [{}, {}], expected [{}, {}] and [{}, {}]", e,
          up.first, up.second, down.first, down.second, up_rows, hidden, hidden, ffn));
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedExperts> packed, DoPackExperts(source));
  packed->experts = static_cast<int64_t>(source.up.size());
  packed->hidden = hidden;
  packed->ffn = ffn;
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedLora>> WeightStore::PackLora(const LoraWeights& source) {
  ASSIGN_OR_RETURN(const auto base, StackedDims(source.base));
  if (source.a.empty() || source.a.size() != source.b.size()) {
    return absl::InvalidArgumentError(
        fmt::format("low-rank experts with {} A and {} B", source.a.size(), source.b.size()));
  }
  int64_t rank = 0;
  for (size_t e = 0; e < source.a.size(); ++e) {
    ASSIGN_OR_RETURN(rank, LoraRank(source, e, rank));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedLora> packed, DoPackLora(source));
  packed->experts = static_cast<int64_t>(source.a.size());
  packed->rank = rank;
  packed->in = base.second;
  packed->out = base.first;
  return packed;
}

}  // namespace tessera
