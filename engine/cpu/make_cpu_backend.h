// The CPU backend: oneDNN for matrix products, Highway for the rest, OpenMP as the one thread pool.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace tessera {

struct CpuOptions {
  DType dtype = DType::kFloat32;  // of the activations: float32, bfloat16 or float16
  int threads = 0;                // 0: all that may be used (UsableProcessors)
};

// INVALID_ARGUMENT for another dtype; FAILED_PRECONDITION for bfloat16 where CpuHasNativeBFloat16()
// is false.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

// Whether matrix products of bfloat16 have instructions here (AVX512-BF16, AMX).
bool CpuHasNativeBFloat16();

}  // namespace tessera
