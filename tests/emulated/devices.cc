// The devices of cuda_emulated_test: the CUDA backend, its kernels run on the CPU, as on a Hopper
// GPU and as on any other.
#include "cuda/cuda_backend.h"
#include "tests/testing/backend_test.h"

namespace tessera::testing {

namespace {

struct EmulatedDevice {
  const char* name;
  int major;
  DType dtype;
  double tolerance;
};
constexpr EmulatedDevice kDevices[] = {{"EmulatedFloat32", 9, DType::kFloat32, 1e-6},
                                       {"EmulatedHopperBFloat16", 9, DType::kBFloat16, 3e-3},
                                       {"EmulatedHopperFloat16", 9, DType::kFloat16, 4e-4},
                                       {"EmulatedAmpereBFloat16", 8, DType::kBFloat16, 3e-3},
                                       {"EmulatedAmpereFloat16", 8, DType::kFloat16, 4e-4}};

BackendCase CaseOf(const EmulatedDevice& d, const char* suffix, WeightFormat weights) {
  const auto make = [device = gpu::Device{"emulated", d.major, 0, 4, 0}, dtype = d.dtype, weights] {
    return std::make_unique<CudaBackend>(dtype, weights, device, gpu::OpenSideStream());
  };
  return {std::string(d.name) + suffix, d.dtype, d.tolerance, make, true, weights};
}

}  // namespace

std::vector<BackendCase> BackendCases() {
  std::vector<BackendCase> cases;
  for (const EmulatedDevice& d : kDevices) {
    cases.push_back(CaseOf(d, "", WeightFormat::kActivations));
  }
  return cases;
}

std::vector<BackendCase> ProductCases() {
  std::vector<BackendCase> cases = BackendCases();
  for (const EmulatedDevice& d : kDevices) {
    if (d.dtype == DType::kFloat32) continue;
    cases.push_back(CaseOf(d, "Fp8Weights", WeightFormat::kFloat8));
    cases.push_back(CaseOf(d, "Int8Weights", WeightFormat::kInt8));
    cases.push_back(CaseOf(d, "Int4Weights", WeightFormat::kInt4));
    if (d.major != 9) continue;
    cases.push_back(CaseOf(d, "W8A8", WeightFormat::kFloat8W8A8));
  }
  return cases;
}

// Attention is the same on both GPUs.
std::vector<BackendCase> PagedCases() {
  std::vector<BackendCase> cases = BackendCases();
  for (const EmulatedDevice& d : kDevices) {
    if (d.dtype == DType::kFloat32 || d.major != 9) continue;
    cases.push_back(CaseOf(d, "Fp8Kv", WeightFormat::kActivations));
    cases.back().float8_kv = true;
  }
  return cases;
}

}  // namespace tessera::testing
