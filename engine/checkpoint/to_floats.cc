#include "engine/checkpoint/to_floats.h"

#include <cstring>

#include "engine/backend/half.h"
#include "engine/base/check.h"

namespace tessera {
namespace {

// Tensors of a file may lie at any address.
template <typename T>
T ValueAt(const HostTensor& tensor, size_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(tensor.data) + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

std::vector<float> ToFloats(const HostTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (tensor.dtype) {
      case DType::kFloat32:
        values[i] = ValueAt<float>(tensor, i);
        break;
      case DType::kBFloat16:
        values[i] = BFloat16ToFloat(ValueAt<uint16_t>(tensor, i));
        break;
      case DType::kFloat16:
        values[i] = Float16ToFloat(ValueAt<uint16_t>(tensor, i));
        break;
      default:
        TESSERA_CHECK_MSG(false, "not a float tensor");
    }
  }
  return values;
}

}  // namespace tessera
