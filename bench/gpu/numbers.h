// Random numbers that are the same for a seed on every machine, in the dtypes that a checkpoint
// has.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backend/tensor.h"

namespace tessera::bench {

// Normal numbers rounded to bfloat16. Zeros or few distinct values would make a GPU look faster
// than it is: it samples less power.
class NormalNumbers {
 public:
  NormalNumbers(float sigma, uint32_t seed);

  // `count` of them; another `stream` gives others. Long ones repeat a pool of kPool numbers.
  std::vector<uint16_t> Take(int64_t count, uint32_t stream) const;
  std::vector<float> TakeFloats(int64_t count, uint32_t stream) const;

 private:
  static constexpr int64_t kPool = (int64_t{1} << 22) - 3;

  std::vector<uint16_t> pool_;
};

// Matrices [rows, cols] of one geometry: number i begins i · kStep numbers into one stretch of host
// memory, so that many experts differ without memory for each.
class MatrixFamily {
 public:
  MatrixFamily(const NormalNumbers& numbers, int64_t count, int64_t rows, int64_t cols,
               uint32_t stream);

  HostTensor matrix(int64_t i) const;
  const uint16_t* row(int64_t i, int64_t row) const { return &values_[i * kStep + row * cols_]; }

 private:
  static constexpr int64_t kStep = 1088;  // of 128 bytes, and no multiple of a row

  int64_t rows_;
  int64_t cols_;
  std::vector<uint16_t> values_;
};

// Σ a[i] · b[i] in double.
double Dot(const uint16_t* a, const double* b, int64_t count);

}  // namespace tessera::bench
