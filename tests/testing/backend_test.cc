#include "tests/testing/backend_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace tessera::testing {
namespace {

// To nearest, ties to even.
float RoundToBFloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  bits += 0x7FFF + ((bits >> 16) & 1);
  bits &= 0xFFFF0000u;
  std::memcpy(&value, &bits, sizeof(bits));
  return value;
}

// To nearest, ties to even; subnormal from 2^-14 down.
float RoundToFloat16(float value) {
  if (value == 0) return value;
  const float step = std::ldexp(1.0f, std::max(std::ilogb(value), -14) - 10);
  return std::nearbyint(value / step) * step;
}

float RoundTo(DType dtype, float value) {
  if (dtype == DType::kBFloat16) return RoundToBFloat16(value);
  return dtype == DType::kFloat16 ? RoundToFloat16(value) : value;
}

}  // namespace

std::string BackendCaseName(const ::testing::TestParamInfo<BackendCase>& info) {
  return info.param.name;
}

std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale, DType dtype) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    const float unit = static_cast<float>(generator() >> 8) / (1 << 24);
    value = RoundTo(dtype, scale * (2 * unit - 1));
  }
  return values;
}

reference::Values Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

void BackendTest::SetUp() {
  auto made = GetParam().make();
  if (!made.ok()) GTEST_SKIP() << made.status().ToString();
  backend_ = *std::move(made);
}

reference::Values BackendTest::Rows(const reference::Values& x, int64_t in) const {
  if (GetParam().weights != WeightFormat::kFloat8W8A8) return x;
  std::vector<float> rounded;
  for (const double value : x) rounded.push_back(RoundTo(dtype(), static_cast<float>(value)));
  return reference::Quantized(rounded, in, WeightFormat::kFloat8);
}

Tensor BackendTest::Keep(const std::vector<float>& values, std::vector<int64_t> dims, DType dtype) {
  auto buffer = backend_->Load(Host(values, std::move(dims)), dtype);
  EXPECT_TRUE(buffer.ok()) << buffer.status().ToString();
  buffers_.push_back(*std::move(buffer));
  return buffers_.back()->tensor();
}

HostTensor Host(const std::vector<float>& values, std::vector<int64_t> dims) {
  return {DType::kFloat32, std::move(dims), values.data()};
}

}  // namespace tessera::testing
