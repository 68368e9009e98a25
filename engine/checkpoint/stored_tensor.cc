#include "engine/checkpoint/stored_tensor.h"

#include <cstring>

#include "engine/base/check.h"

namespace tessera {

bool IsFloat(const StoredTensor& tensor) {
  return tensor.dtype == DType::kFloat32 || tensor.dtype == DType::kBFloat16 ||
         tensor.dtype == DType::kFloat16;
}

void CopyRowMajor(const StoredTensor& tensor, std::byte* out) {
  TESSERA_CHECK(tensor.dtype && tensor.strides.size() == tensor.dims.size());
  const size_t size = DTypeBytes(*tensor.dtype);
  const auto* data = static_cast<const std::byte*>(tensor.data);
  std::vector<int64_t> at(tensor.dims.size(), 0);
  int64_t offset = 0;  // of the element at `at`
  for (size_t done = 0; done < tensor.bytes; done += size) {
    std::memcpy(out + done, data + static_cast<size_t>(offset) * size, size);
    for (size_t dim = at.size(); dim-- > 0;) {  // the next index, last dim first
      offset += tensor.strides[dim];
      if (++at[dim] < tensor.dims[dim]) break;
      offset -= tensor.strides[dim] * tensor.dims[dim];
      at[dim] = 0;
    }
  }
}

}  // namespace tessera
