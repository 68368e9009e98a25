#include "engine/cpu/make_cpu_backend.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>

#include "engine/base/processors.h"
#include "engine/cpu/cpu_backend.h"

namespace tessera {

CpuBackend::CpuBackend(DType dtype, int threads)
    : Backend(dtype), threads_(threads), product_(dtype, threads) {}

bool CpuHasNativeBFloat16() {
  const auto isa = dnnl::get_effective_cpu_isa();
  return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx;
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  if (options.dtype != DType::kFloat32 && options.dtype != DType::kBFloat16 &&
      options.dtype != DType::kFloat16) {
    return absl::InvalidArgumentError(fmt::format(
        "the CPU computes in float32, bfloat16 or float16, not in {}; use --dtype float32",
        DTypeName(options.dtype)));
  }
  if (options.dtype == DType::kBFloat16 && !CpuHasNativeBFloat16()) {
    return absl::FailedPreconditionError(
        "this processor has no instructions for bfloat16 products; use --dtype float32");
  }
  if (options.threads < 0) {
    return absl::InvalidArgumentError(fmt::format("{} threads", options.threads));
  }
  const int wanted = options.threads > 0 ? options.threads : UsableProcessors().threads();
  const int threads = std::min(wanted, omp_get_thread_limit());
  return std::make_unique<CpuBackend>(options.dtype, threads);
}

}  // namespace tessera
