// Stands in for the CUDA backend in builds without it.
#include "cuda/make_cuda_backend.h"

namespace tessera {

namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this build has no CUDA backend; use --device cpu");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(
    DType, WeightFormat, const std::optional<std::filesystem::path>&) {
  return NoCuda();
}

absl::StatusOr<std::vector<std::string>> DescribeGpus() { return NoCuda(); }

CUstream_st* CudaStream(const Backend&) { return nullptr; }

}  // namespace tessera
