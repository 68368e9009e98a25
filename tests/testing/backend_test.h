// Tests of backend operations are written once and run for every device and dtype: BackendTest is
// parametrised by what to make, and skips where that device is absent.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/weight_format.h"
#include "engine/backend/backend.h"
#include "tests/testing/near.h"
#include "tests/testing/reference_ops.h"

namespace tessera::testing {

struct BackendCase {
  std::string name;
  DType dtype;
  double tolerance;  // relative, of one operation with one rounding
  std::function<absl::StatusOr<std::unique_ptr<Backend>>()> make;
  bool emulated = false;  // thousands of times slower: tests take their smaller sizes
  WeightFormat weights = WeightFormat::kActivations;  // of linear layers and experts
  bool float8_kv = false;                             // KV caches have 8 bits
  double sum_tolerance = 2e-6;                        // of a matrix product alone, in float32
};
// Each test executable says which devices it tests.
std::vector<BackendCase> BackendCases();
// … and with quantised weights, for operations that multiply with them.
std::vector<BackendCase> ProductCases();
// … and with KV caches of 8 bits, for operations on those.
std::vector<BackendCase> PagedCases();
std::string BackendCaseName(const ::testing::TestParamInfo<BackendCase>& info);

// Host values that a device of dtype `dtype` holds exactly.
std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale, DType dtype);
reference::Values Widen(const std::vector<float>& values);

class BackendTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override;

  Backend& backend() { return *backend_; }
  DType dtype() const { return GetParam().dtype; }
  double tolerance() const { return GetParam().tolerance; }
  bool emulated() const { return GetParam().emulated; }
  std::vector<float> Random(int64_t count, uint32_t seed, float scale = 1.0f) const {
    return RandomFloats(count, seed, scale, dtype());
  }
  // What the device multiplies of rows x [T, in] that come to a linear layer or an expert's.
  reference::Values Rows(const reference::Values& x, int64_t in) const;
  // What the device keeps of weight [out, in] of a linear layer or an expert.
  reference::Values Kept(const std::vector<float>& weight, int64_t in) const {
    return reference::Quantized(weight, in, GetParam().weights);
  }
  // float32 [n] or [rows, cols] that lives as long as the test.
  Tensor Keep(const std::vector<float>& values, std::vector<int64_t> dims, DType dtype);

 private:
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// A host tensor of float32 over `values`, which must outlive it.
HostTensor Host(const std::vector<float>& values, std::vector<int64_t> dims);

}  // namespace tessera::testing
