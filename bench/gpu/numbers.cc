#include "bench/gpu/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <random>

#include "engine/backend/half.h"

namespace tessera::bench {

NormalNumbers::NormalNumbers(float sigma, uint32_t seed) : pool_(kPool) {
  std::mt19937 generator(seed);
  for (uint16_t& value : pool_) {  // Box and Muller 1958
    const double radius = std::sqrt(-2 * std::log((generator() + 1.0) / 4294967297.0));
    const double angle = 2 * std::numbers::pi * generator() / 4294967296.0;
    value = FloatToBFloat16(static_cast<float>(sigma * radius * std::cos(angle)));
  }
}

std::vector<uint16_t> NormalNumbers::Take(int64_t count, uint32_t stream) const {
  std::vector<uint16_t> values(count);
  int64_t from = int64_t{stream} * 104729 % kPool;  // a prime
  for (int64_t begin = 0; begin < count;) {
    const int64_t part = std::min(count - begin, kPool - from);
    std::memcpy(&values[begin], &pool_[from], part * sizeof(uint16_t));
    begin += part;
    from = 0;
  }
  return values;
}

std::vector<float> NormalNumbers::TakeFloats(int64_t count, uint32_t stream) const {
  const auto values = Take(count, stream);
  std::vector<float> floats(values.size());
  std::transform(values.begin(), values.end(), floats.begin(), BFloat16ToFloat);
  return floats;
}

MatrixFamily::MatrixFamily(const NormalNumbers& numbers, int64_t count, int64_t rows, int64_t cols,
                           uint32_t stream)
    : rows_(rows), cols_(cols), values_(numbers.Take(rows * cols + count * kStep, stream)) {}

HostTensor MatrixFamily::matrix(int64_t i) const {
  return {DType::kBFloat16, {rows_, cols_}, &values_[i * kStep]};
}

double Dot(const uint16_t* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(BFloat16ToFloat(a[i])) * b[i];
  return sum;
}

}  // namespace tessera::bench
