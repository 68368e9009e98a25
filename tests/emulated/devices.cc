// The devices of cuda_emulated_test: the CUDA backend, its kernels run on the CPU, as on a Hopper
// GPU and as on any other.
#include "cuda/operations.h"
#include "tests/testing/backend_test.h"

namespace tessera::testing {

std::vector<BackendCase> BackendCases() {
  const struct {
    const char* name;
    int major;
    DType dtype;
    double tolerance;
  } devices[] = {{"EmulatedFloat32", 9, DType::kFloat32, 1e-6},
                 {"EmulatedHopperBFloat16", 9, DType::kBFloat16, 3e-3},
                 {"EmulatedHopperFloat16", 9, DType::kFloat16, 4e-4},
                 {"EmulatedAmpereBFloat16", 8, DType::kBFloat16, 3e-3},
                 {"EmulatedAmpereFloat16", 8, DType::kFloat16, 4e-4}};
  std::vector<BackendCase> cases;
  for (const auto& d : devices) {
    const auto make = [device = gpu::Device{"emulated", d.major, 0, 4, 0}, dtype = d.dtype] {
      return std::make_unique<CudaBackend>(dtype, device, nullptr);
    };
    cases.push_back({d.name, d.dtype, d.tolerance, make, true});
  }
  return cases;
}

}  // namespace tessera::testing
