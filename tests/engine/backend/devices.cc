// The devices of engine_test: the CPU, and the GPU where there is one.
#include "cuda/make_cuda_backend.h"
#include "engine/cpu/make_cpu_backend.h"
#include "tests/testing/backend_test.h"

namespace tessera::testing {

std::vector<BackendCase> BackendCases() {
  std::vector<BackendCase> cases;
  const struct {
    const char* name;
    DType dtype;
    double tolerance;
  } dtypes[] = {{"Float32", DType::kFloat32, 1e-6},
                {"BFloat16", DType::kBFloat16, 3e-3},
                {"Float16", DType::kFloat16, 4e-4}};
  const bool gpu = MakeCudaBackend(DType::kFloat32).ok();
  for (const auto& d : dtypes) {
    const DType dtype = d.dtype;
    cases.push_back({std::string("Cpu") + d.name, dtype, d.tolerance, [dtype] {
                       return MakeCpuBackend({dtype, 2});
                     }});
    if (!gpu) continue;
    cases.push_back({std::string("Cuda") + d.name, dtype, d.tolerance,
                     [dtype] { return MakeCudaBackend(dtype); }});
  }
  return cases;
}

std::vector<BackendCase> ProductCases() {
  std::vector<BackendCase> cases = BackendCases();
  if (!MakeCudaBackend(DType::kFloat32).ok()) return cases;
  for (const BackendCase& c : BackendCases()) {
    if (!c.name.starts_with("Cuda") || c.dtype == DType::kFloat32) continue;
    const std::pair<const char*, WeightFormat> formats[] = {{"Fp8Weights", WeightFormat::kFloat8},
                                                            {"Int8Weights", WeightFormat::kInt8},
                                                            {"Int4Weights", WeightFormat::kInt4},
                                                            {"W8A8", WeightFormat::kFloat8W8A8}};
    for (const auto& [name, format] : formats) {
      if (!MakeCudaBackend(c.dtype, format).ok()) continue;
      BackendCase quantized = c;
      // The tensor cores keep about 14 bits of sums of 8-bit numbers.
      if (format == WeightFormat::kFloat8W8A8) quantized.sum_tolerance = 1e-3;
      quantized.name += name;
      quantized.weights = format;
      quantized.make = [dtype = c.dtype, format] { return MakeCudaBackend(dtype, format); };
      cases.push_back(std::move(quantized));
    }
  }
  return cases;
}

std::vector<BackendCase> PagedCases() {
  std::vector<BackendCase> cases = BackendCases();
  for (const BackendCase& c : BackendCases()) {
    if (!c.name.starts_with("Cuda") || c.dtype == DType::kFloat32) continue;
    cases.push_back(c);
    cases.back().name += "Fp8Kv";
    cases.back().float8_kv = true;
  }
  return cases;
}

}  // namespace tessera::testing
