#include "cuda/make_cuda_backend.h"

#include <fmt/format.h>

#include "cuda/cuda_backend.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(
    DType activation_dtype, WeightFormat weights,
    const std::optional<std::filesystem::path>& tile_cache) {
  if (activation_dtype != DType::kFloat32 && activation_dtype != DType::kBFloat16 &&
      activation_dtype != DType::kFloat16) {
    return absl::InvalidArgumentError(
        fmt::format("the GPU computes in float32, bfloat16 or float16, not in {}",
                    DTypeName(activation_dtype)));
  }
  if (weights != WeightFormat::kActivations && activation_dtype == DType::kFloat32) {
    return absl::InvalidArgumentError(
        "quantised weights need activations in bfloat16 or float16, not float32; use --dtype "
        "bfloat16");
  }
  gpu::Device device;
  gpu::StreamHandle stream = nullptr;
  const std::string fault = gpu::Open(device, stream);
  if (!fault.empty()) return absl::FailedPreconditionError(fault + "; use --device cpu");
  if (weights == WeightFormat::kFloat8W8A8 && device.major != 9) {
    gpu::Close(stream);
    return absl::InvalidArgumentError(
        fmt::format("weights in fp8-w8a8 need a GPU of compute capability 9.0, not {}.{} ({}); use "
                    "--weights fp8",
                    device.major, device.minor, device.name));
  }
  return std::make_unique<CudaBackend>(activation_dtype, weights, std::move(device), stream,
                                       tile_cache);
}

absl::StatusOr<std::vector<std::string>> DescribeGpus() {
  std::vector<gpu::Device> devices;
  const std::string fault = gpu::List(devices);
  if (!fault.empty()) return absl::FailedPreconditionError(fault + "; use --device cpu");
  std::vector<std::string> lines;
  for (const gpu::Device& device : devices) {
    lines.push_back(fmt::format("{}, compute capability {}.{}, {} multiprocessors, {} MiB",
                                device.name, device.major, device.minor, device.multiprocessors,
                                device.memory_bytes >> 20));
  }
  return lines;
}

CUstream_st* CudaStream(const Backend& backend) {
  return static_cast<const CudaBackend&>(backend).stream();
}

}  // namespace tessera
