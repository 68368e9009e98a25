#include "engine/backend/tensor.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tessera {

size_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
    case DType::kFloat8:
      return 1;
    case DType::kInt64:
      return 8;
  }
  TESSERA_CHECK_MSG(false, "unknown dtype");
}

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
    case DType::kFloat8:
      return "fp8";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
  }
  TESSERA_CHECK_MSG(false, "unknown dtype");
}

Tensor::Tensor(DType dtype, Dims shape, void* data)
    : dtype(dtype), rank(static_cast<int>(shape.size())), data(data) {
  TESSERA_CHECK(shape.size() <= kMaxRank);
  std::copy(shape.begin(), shape.end(), dims.begin());
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int i = 0; i < rank; ++i) count *= dims[i];
  return count;
}

int64_t Tensor::rows() const {
  int64_t count = 1;
  for (int i = 0; i + 1 < rank; ++i) count *= dims[i];
  return count;
}

int64_t Tensor::cols() const { return rank == 0 ? 1 : dims[rank - 1]; }

Tensor Tensor::Rows(int64_t begin, int64_t count) const {
  TESSERA_CHECK(rank == 2 && begin >= 0 && count >= 0 && begin + count <= dims[0]);
  return Tensor(
      dtype, {count, dims[1]},
      static_cast<char*>(data) + static_cast<size_t>(begin * dims[1]) * DTypeBytes(dtype));
}

Tensor Tensor::Reshape(Dims shape) const {
  Tensor reshaped(dtype, shape, data);
  TESSERA_CHECK(reshaped.elements() == elements());
  return reshaped;
}

int64_t HostTensor::elements() const {
  int64_t count = 1;
  for (int64_t dim : dims) count *= dim;
  return count;
}

std::string HostTensor::ShapeString() const {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dims[i]);
  }
  return text + "]";
}

}  // namespace tessera
