// The experts' feed-forward layers: every expert that has rows computes all of its own, so that its
// weights are read once per pass.
#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

struct CpuExperts : PackedExperts {
  std::vector<Matrix> up;
  std::vector<Matrix> down;
  Activation activation = Activation::kNone;
  bool gated = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PackedExperts>> CpuBackend::DoPackExperts(
    const ExpertWeights& source) {
  auto packed = std::make_unique<CpuExperts>();
  packed->activation = source.activation;
  packed->gated = source.gated;
  for (size_t e = 0; e < source.up.size(); ++e) {
    ASSIGN_OR_RETURN(Matrix up, product_.Pack(source.up[e]));
    ASSIGN_OR_RETURN(Matrix down, product_.Pack(source.down[e]));
    packed->bytes += up.bytes() + down.bytes();
    packed->up.push_back(std::move(up));
    packed->down.push_back(std::move(down));
  }
  return packed;
}

void CpuBackend::DoExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing,
                             Tensor y) {
  const auto& packed = static_cast<const CpuExperts&>(experts);
  const int64_t places = routing.sorted_rows.elements();
  const auto* starts = routing.expert_starts.as<int32_t>();
  TESSERA_CHECK(starts[0] == 0 && starts[experts.experts] == places);
  std::vector<MatrixRows> ups, downs;
  for (int64_t e = 0; e < experts.experts; ++e) {
    const int64_t count = starts[e + 1] - starts[e];
    if (count == 0) continue;
    ups.push_back({&packed.up[e], starts[e], count});
    downs.push_back({&packed.down[e], starts[e], count});
  }
  Tensor inner = New(x.dtype, {places, (packed.gated ? 2 : 1) * experts.ffn});
  product_.Run(ups, x, routing.sorted_rows, packed.gated ? Activation::kNone : packed.activation,
               inner, arena_);
  if (packed.gated) {
    Tensor both = inner;
    inner = New(x.dtype, {places, experts.ffn});
    DoGatedActivate(both, packed.activation, inner);
  }
  product_.Run(downs, inner, {}, Activation::kNone, y, arena_);
}

}  // namespace tessera
