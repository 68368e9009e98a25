// Stands in for the CUDA backend in builds without it.
#include "cuda/cuda_backend.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(
    DType, WeightFormat, const std::optional<std::filesystem::path>&) {
  return absl::UnimplementedError("this build has no CUDA backend; use --device cpu");
}

CUstream_st* CudaStream(const Backend&) { return nullptr; }

}  // namespace tessera
