#include "engine/backend/weight_checks.h"

#include <fmt/format.h>

namespace tessera {

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

absl::StatusOr<std::pair<int64_t, int64_t>> StackedDims(const LinearWeights& source) {
  if (source.weights.empty()) return absl::InvalidArgumentError("linear layer without weights");
  if (!source.biases.empty() && source.biases.size() != source.weights.size()) {
    return absl::InvalidArgumentError(fmt::format("linear layer of {} weights has {} biases",
                                                  source.weights.size(), source.biases.size()));
  }
  int64_t in = -1;
  int64_t out = 0;
  for (size_t i = 0; i < source.weights.size(); ++i) {
    const HostTensor& weight = source.weights[i];
    if (weight.dims.size() != 2 || weight.dims[0] <= 0 || weight.dims[1] <= 0) {
      return absl::InvalidArgumentError(
          fmt::format("weight {} has shape {}, not [out, in]", i, weight.ShapeString()));
    }
    if (!IsFloat(weight.dtype)) {
      return absl::InvalidArgumentError(fmt::format("weight {} is {}", i, DTypeName(weight.dtype)));
    }
    if (in >= 0 && weight.dims[1] != in) {
      return absl::InvalidArgumentError(
          fmt::format("weight {} has shape {}, the ones before it take {} inputs", i,
                      weight.ShapeString(), in));
    }
    in = weight.dims[1];
    out += weight.dims[0];
    if (source.biases.empty()) continue;
    const HostTensor& bias = source.biases[i];
    if (!IsFloat(bias.dtype) || bias.elements() != weight.dims[0]) {
      return absl::InvalidArgumentError(fmt::format("bias {} is {} {}, its weight is {}", i,
                                                    DTypeName(bias.dtype), bias.ShapeString(),
                                                    weight.ShapeString()));
    }
  }
  return std::make_pair(out, in);
}

absl::StatusOr<int64_t> LoraRank(const LoraWeights& source, size_t e, int64_t rank) {
  const std::vector<HostTensor>& base = source.base.weights;
  const std::vector<HostTensor>& a = source.a[e].weights;
  const std::vector<HostTensor>& b = source.b[e].weights;
  if (a.size() != base.size() || b.size() != base.size()) {
    return absl::InvalidArgumentError(fmt::format(
        "low-rank expert {}: {} A and {} B for {} weights", e, a.size(), b.size(), base.size()));
  }
  for (size_t i = 0; i < base.size(); ++i) {
    if (rank == 0 && !a[i].dims.empty()) rank = a[i].dims[0];
    const bool fits = rank > 0 && a[i].dims == std::vector{rank, base[i].dims[1]} &&
                      b[i].dims == std::vector{base[i].dims[0], rank};
    if (!fits || !IsFloat(a[i].dtype) || !IsFloat(b[i].dtype)) {
      return absl::InvalidArgumentError(fmt::format(
          "low-rank expert {}: A is {} {} and B {} {}, beside a weight of {} and with rank {}", e,
          DTypeName(a[i].dtype), a[i].ShapeString(), DTypeName(b[i].dtype), b[i].ShapeString(),
          base[i].ShapeString(), rank));
    }
  }
  return rank;
}

}  // namespace tessera
