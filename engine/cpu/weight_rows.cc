#include "engine/cpu/weight_rows.h"

#include <cstring>

#include "engine/backend/half.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

// `column` may lie at any address: a file's weights do.
template <typename From, typename To, typename Convert>
void Gather(const char* column, int64_t stride, int64_t count, To* y, Convert convert) {
  const auto step = static_cast<size_t>(stride) * sizeof(From);
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, column + static_cast<size_t>(i) * step, sizeof(value));
    y[i] = convert(value);
  }
}

}  // namespace

void CopyWeightRow(const HostTensor& matrix, int64_t row, DType dtype, float* wide, void* y) {
  const int64_t in = matrix.dims[1];
  const size_t element = DTypeBytes(matrix.dtype);
  const auto* data = static_cast<const char*>(matrix.data);
  if (matrix.column_stride == 0) {
    const char* from = data + static_cast<size_t>(row * in) * element;
    if (matrix.dtype == dtype) {
      std::memcpy(y, from, static_cast<size_t>(in) * element);
      return;
    }
    rows::Widen(from, matrix.dtype, in, wide);
    rows::Narrow(wide, dtype, in, y);
    return;
  }
  const char* first = data + static_cast<size_t>(row) * element;
  if (matrix.dtype == DType::kFloat32) {
    Gather<float>(first, matrix.column_stride, in, wide, [](float value) { return value; });
  } else if (matrix.dtype == dtype) {
    const auto same = [](uint16_t value) { return value; };
    return Gather<uint16_t>(first, matrix.column_stride, in, static_cast<uint16_t*>(y), same);
  } else if (matrix.dtype == DType::kBFloat16) {
    Gather<uint16_t>(first, matrix.column_stride, in, wide, BFloat16ToFloat);
  } else {
    Gather<uint16_t>(first, matrix.column_stride, in, wide, Float16ToFloat);
  }
  rows::Narrow(wide, dtype, in, y);
}

}  // namespace tessera
